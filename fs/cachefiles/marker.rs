// SPDX-License-Identifier: GPL-2.0

//! The type that stands for the driver in the types of fscache.

/// The cache back end. Its functions and its types are in `backend`; it is here so that what names
/// it need not import that.
pub(crate) struct Cachefiles;
