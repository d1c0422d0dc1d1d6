// SPDX-License-Identifier: GPL-2.0

//! The module that this crate is linked into.
//!
//! C header: `include/linux/module.h`

use cachefiles_bindings as bindings;
use kernel::error::{
    code::{EINVAL, ENODEV},
    Result,
};
use kernel::ThisModule;

extern "C" {
    // A `struct module`. Only its address is taken.
    static __this_module: u8;
}

/// The value of `THIS_MODULE`, for tables of operations that are constants.
///
/// The linker resolves the symbol to the module that this crate is linked into.
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

/// A reference to the module, which keeps it from being unloaded.
///
/// A task that drops the last reference still runs code of the module for a moment. The exit of the
/// module waits for such tasks with [`crate::task::synchronize_rcu_tasks`].
///
/// # Invariants
///
/// Owns one reference to `THIS_MODULE`.
pub struct ModuleRef(());

impl ModuleRef {
    /// Takes a reference. Any context. Error: ENODEV, the module is being unloaded.
    pub fn take() -> Result<Self> {
        // SAFETY: The module is in memory, as this is its code.
        if unsafe { bindings::cfh_try_module_get(THIS_MODULE) } {
            // INVARIANT: Taken just now.
            Ok(Self(()))
        } else {
            Err(ENODEV)
        }
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: The reference is ours to give up, by the type invariant.
        unsafe { bindings::cfh_module_put(THIS_MODULE) };
    }
}
