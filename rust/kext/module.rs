// SPDX-License-Identifier: GPL-2.0

//! The module that this crate is linked into.
//!
//! C header: `include/linux/module.h`

use cachefiles_bindings as bindings;
use kernel::error::{code::EINVAL, Result};
use kernel::ThisModule;

extern "C" {
    // A `struct module`. Only its address is taken.
    static __this_module: u8;
}

/// `THIS_MODULE`, for tables of operations that are constants.
///
/// The symbol is that of the object file in the end, whichever crate asks for it.
pub(crate) const THIS_MODULE: *mut bindings::module = core::ptr::addr_of!(__this_module)
    .cast::<bindings::module>()
    .cast_mut();

/// Checks that `module` is the one that the tables of operations hold a reference to.
///
/// Error: EINVAL.
pub(crate) fn check_owner(module: &ThisModule) -> Result {
    if core::ptr::eq(module.as_ptr(), THIS_MODULE) {
        Ok(())
    } else {
        Err(EINVAL)
    }
}
