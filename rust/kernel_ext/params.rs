// SPDX-License-Identifier: GPL-2.0

//! The module's parameters, and the sysctl `cachefiles/error_injection`.
//!
//! All are defined in `rust/helpers/params.c`. The sysctl exists where the kernel is configured
//! with `CONFIG_CACHEFILES_ERROR_INJECTION`; elsewhere nothing is ever injected.

use crate::errno;
use cachefiles_bindings as bindings;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use kernel::error::{
    code::{EBUSY, EIO, ENOSPC},
    Result,
};

/// Removals, reads and writes fail with EIO.
const INJECT_EIO: u32 = 2;
/// Writes fail with ENOSPC.
const INJECT_ENOSPC: u32 = 1;

/// Returns the variable behind `debug`. It is read on hot paths, so not by a call to C.
#[inline]
fn debug() -> &'static AtomicU32 {
    // SAFETY: An aligned variable that lives as long as the module. C stores a new value in one
    // access, and has no other business with it.
    unsafe { AtomicU32::from_ptr(&raw mut bindings::cfh_debug) }
}

/// Returns the value of `debug`, as set by the parameter or by [`set_debug_mask`].
#[inline]
pub fn debug_mask() -> u32 {
    debug().load(Ordering::Relaxed)
}

/// Sets `debug`, for the command `debug` of the device.
#[inline]
pub fn set_debug_mask(mask: u32) {
    debug().store(mask, Ordering::Relaxed);
}

/// Returns `inherit_fds`: whether the fds of the daemon survive exec, as those of the C module do.
#[inline]
pub fn inherit_fds() -> bool {
    // SAFETY: An aligned variable that lives as long as the module, and is only ever true or false.
    // C stores a new value in one access.
    let inherit = unsafe { AtomicBool::from_ptr(&raw mut bindings::cfh_inherit_fds) };
    inherit.load(Ordering::Relaxed)
}

/// Returns `reopen_tries`: how often in a row the daemon may refuse a reopen; 0 for no limit.
#[inline]
pub fn reopen_tries() -> u32 {
    // SAFETY: An aligned variable that lives as long as the module. C stores a new value in one
    // access, and has no other business with it.
    let tries = unsafe { AtomicU32::from_ptr(&raw mut bindings::cfh_reopen_tries) };
    tries.load(Ordering::Relaxed)
}

/// Returns `async_reads`: whether readahead goes on without the data that the daemon is asked for.
#[inline]
pub fn async_reads() -> bool {
    // SAFETY: An aligned variable that lives as long as the module, and is only ever true or false.
    // C stores a new value in one access.
    let is_async = unsafe { AtomicBool::from_ptr(&raw mut bindings::cfh_async_reads) };
    is_async.load(Ordering::Relaxed)
}

/// Returns `straight_reads`: whether what the daemon writes is copied to the reader that waits for
/// it.
#[inline]
pub fn straight_reads() -> bool {
    // SAFETY: An aligned variable that lives as long as the module, and is only ever true or false.
    // C stores a new value in one access.
    let is_straight = unsafe { AtomicBool::from_ptr(&raw mut bindings::cfh_straight_reads) };
    is_straight.load(Ordering::Relaxed)
}

/// Returns `linger`: the seconds for which an on-demand cache waits for its next daemon, a day at
/// most.
#[inline]
pub fn linger() -> u32 {
    // SAFETY: An aligned variable that lives as long as the module. C stores a new value in one
    // access, and has no other business with it.
    let seconds = unsafe { AtomicU32::from_ptr(&raw mut bindings::cfh_linger) };
    seconds.load(Ordering::Relaxed)
}

/// Returns `readahead`: the KiB that an on-demand cache asks for ahead of those who read in
/// sequence, 16384 at most.
#[inline]
pub fn readahead() -> u32 {
    // SAFETY: An aligned variable that lives as long as the module. C stores a new value in one
    // access, and has no other business with it.
    let kib = unsafe { AtomicU32::from_ptr(&raw mut bindings::cfh_readahead) };
    kib.load(Ordering::Relaxed)
}

/// Set while an [`ErrorInjection`] exists or is being made. C keeps one pointer to the sysctl's
/// header, so that a second registration would lose the first.
static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

/// The registered sysctl `cachefiles/error_injection`. Dropping it removes the sysctl.
///
/// # Invariants
///
/// The sysctl is registered, by this value only; `IS_REGISTERED` is true.
pub struct ErrorInjection(());

impl ErrorInjection {
    /// Registers the sysctl, at module initialisation. May sleep.
    ///
    /// Errors: EBUSY, registered already; ENOMEM, also where another module has the name.
    pub fn register() -> Result<Self> {
        if IS_REGISTERED.swap(true, Ordering::Acquire) {
            return Err(EBUSY);
        }
        // INVARIANT: There is no other registration, and this one succeeded.
        //
        // SAFETY: Nobody else registers or unregisters it until the variable is false again.
        errno::check(unsafe { bindings::cfh_register_error_injection() })
            .map(|()| Self(()))
            .inspect_err(|_| IS_REGISTERED.store(false, Ordering::Release))
    }
}

impl Drop for ErrorInjection {
    fn drop(&mut self) {
        // SAFETY: Registered, by the type invariant, and so nobody else's business.
        unsafe { bindings::cfh_unregister_error_injection() };
        IS_REGISTERED.store(false, Ordering::Release);
    }
}

/// Returns the bits of the errors that are injected.
#[inline]
fn injected() -> u32 {
    // SAFETY: An aligned variable that lives as long as the module, which only the sysctl's handler
    // writes, in one access.
    let state = unsafe { AtomicU32::from_ptr(&raw mut bindings::cfh_error_injection) };
    state.load(Ordering::Relaxed)
}

/// Returns the error that is injected into reads: EIO, or none.
#[inline]
pub fn injected_read_error() -> Result {
    if injected() & INJECT_EIO != 0 {
        Err(EIO)
    } else {
        Ok(())
    }
}

/// Returns the error that is injected into writes: EIO, ENOSPC, or none.
#[inline]
pub fn injected_write_error() -> Result {
    let bits = injected();
    if bits & (INJECT_EIO | INJECT_ENOSPC) == 0 {
        Ok(())
    } else if bits & INJECT_EIO != 0 {
        Err(EIO)
    } else {
        Err(ENOSPC)
    }
}

/// Returns the error that is injected into removals: EIO, or none.
#[inline]
pub fn injected_remove_error() -> Result {
    injected_read_error()
}
