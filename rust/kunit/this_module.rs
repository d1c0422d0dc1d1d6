// SPDX-License-Identifier: GPL-2.0

//! This module, and one that it is not.

use crate::bindings;
use kernel::ThisModule;

/// Returns the refcount of this module, which keeps it from being removed.
pub fn users_of_this_module() -> i32 {
    // SAFETY: Reads a counter.
    unsafe { bindings::cfk_module_refcount() }
}

/// Another module than this one: what code that is built into the kernel has.
pub fn foreign_module() -> &'static ThisModule {
    // SAFETY: It is the right `THIS_MODULE` of built-in code, and is only ever compared.
    static BUILT_IN: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
    &BUILT_IN
}
