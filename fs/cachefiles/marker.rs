// SPDX-License-Identifier: GPL-2.0

//! The type that stands for the driver in the types of fscache.

/// The cache back end. Its functions, and what it caches with, are in `backend`; here it is below
/// all who name it.
pub(crate) struct Cachefiles;
