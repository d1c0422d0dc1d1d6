// SPDX-License-Identifier: GPL-2.0

//! Allocation flags for C functions that take them.
//!
//! C header: `include/linux/gfp_types.h`

use cachefiles_bindings as bindings;
use kernel::alloc::{flags, Flags};

/// The C value of `flags`, which the `kernel` crate keeps to itself.
///
/// Knows the plain flags that callers use. For any other it gives `GFP_NOWAIT`, with which an
/// allocation may fail more often but never sleeps where it must not.
#[inline]
pub(crate) fn to_raw(flags: Flags) -> bindings::gfp_t {
    if flags == flags::GFP_KERNEL {
        bindings::GFP_KERNEL
    } else if flags == flags::GFP_KERNEL_ACCOUNT {
        bindings::GFP_KERNEL_ACCOUNT
    } else if flags == flags::GFP_ATOMIC {
        bindings::GFP_ATOMIC
    } else {
        bindings::GFP_NOWAIT
    }
}
