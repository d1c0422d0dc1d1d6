// SPDX-License-Identifier: GPL-2.0

//! Where a file has data, and where holes.

pub(crate) mod extent;
pub(crate) mod snapshot;
