// SPDX-License-Identifier: GPL-2.0

//! Allocation flags: what an allocation may do to find memory.
//!
//! C header: `include/linux/gfp_types.h`
//!
//! The flags of the `kernel` crate do not expose their value, so that functions of this crate could
//! not pass them on to C.

use cachefiles_bindings as bindings;

/// The flags of an allocation, for the functions of this crate that allocate in C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gfp {
    /// `GFP_KERNEL`: may sleep, and may call into file systems to free memory.
    Kernel,
    /// `GFP_ATOMIC`: does not sleep, and may use reserves. Fails sooner.
    Atomic,
}

impl Gfp {
    #[inline]
    pub(crate) const fn as_raw(self) -> bindings::gfp_t {
        match self {
            Self::Kernel => bindings::GFP_KERNEL,
            Self::Atomic => bindings::GFP_ATOMIC,
        }
    }
}
