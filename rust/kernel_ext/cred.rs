// SPDX-License-Identifier: GPL-2.0

//! Credentials, with which the cache accesses its own files.
//!
//! C headers: [`include/linux/cred.h`](srctree/include/linux/cred.h),
//! [`include/linux/security.h`](srctree/include/linux/security.h).

use crate::fs::Inode;
use cachefiles_bindings as bindings;
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{
    alloc::{flags::GFP_KERNEL, KVec},
    error::{
        code::{EINVAL, ENOMEM},
        to_result, Result,
    },
    str::CStr,
    types::{ARef, AlwaysRefCounted, Opaque},
};

/// Returns whether the current task has `CAP_SYS_ADMIN` in the initial user namespace.
#[inline]
pub fn capable_sys_admin() -> bool {
    // SAFETY: The capability is a valid one, and there is nothing else to rely on.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as i32) }
}

/// Whom a task acts for: its effective user, and its security context.
///
/// Contexts are compared as text: a module that is given its rules anew, such as AppArmor, may give
/// the same context another number.
#[derive(Debug)]
pub struct User {
    /// As the kernel counts users, whatever the task's user namespace makes of it.
    euid: u32,
    /// Empty without a security module.
    context: KVec<u8>,
}

impl User {
    /// Returns that of the current task, with the credentials that are in force. Context of a
    /// process; may sleep for memory.
    ///
    /// Error: ENOMEM.
    pub fn current() -> Result<Self> {
        // SAFETY: Reads the credentials of the current task, which has some.
        let euid = unsafe { bindings::cfh_current_euid() };
        let mut context: KVec<u8> = KVec::new();
        loop {
            let room = context.len().try_into().map_err(|_| ENOMEM)?;
            // SAFETY: `context` is valid for writes of its length.
            let len = unsafe { bindings::cfh_current_secctx(context.as_mut_ptr().cast(), room) };
            if len == room {
                return Ok(Self { euid, context });
            }
            // Asked again with room, as it may become another one meanwhile.
            context = KVec::from_elem(0, len as usize, GFP_KERNEL)?;
        }
    }
}

impl PartialEq for User {
    fn eq(&self, other: &Self) -> bool {
        self.euid == other.euid && self.context[..] == other.context[..]
    }
}

/// Looks up the security module's number for a security context.
///
/// Errors: `EOPNOTSUPP` without a security module, `EINVAL` for a context that it does not know,
/// `ENOMEM`, and others of the module.
pub fn secctx_to_secid(ctx: &CStr) -> Result<u32> {
    let len = ctx.len().try_into().map_err(|_| EINVAL)?;
    let mut secid = 0;
    // SAFETY: `ctx` is a string of `len` bytes; `secid` is a valid place for the answer.
    to_result(unsafe {
        bindings::cfh_security_secctx_to_secid(ctx.as_char_ptr(), len, &mut secid)
    })?;
    Ok(secid)
}

/// Credentials in use (`struct cred`). They do not change.
///
/// # Invariants
///
/// The credentials have a reference count above zero for as long as a reference to this value
/// exists.
#[repr(transparent)]
pub struct Credential(Opaque<bindings::cred>);

// SAFETY: Published credentials do not change, and their count is atomic.
unsafe impl Send for Credential {}
// SAFETY: All that shared access does is to read, and published credentials do not change.
unsafe impl Sync for Credential {}

// SAFETY: `get_cred()` and `put_cred()` count the references that keep credentials alive; all
// credentials are counted.
unsafe impl AlwaysRefCounted for Credential {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: `self` has a reference (type invariant).
        unsafe { bindings::cfh_get_cred(self.as_ptr()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns the reference that is given up. `Credential` is transparent, and
        // an `Opaque` has the address of what is in it.
        unsafe { bindings::cfh_put_cred(obj.cast().as_ptr()) };
    }
}

impl Credential {
    /// Returns the pointer that C functions take.
    #[inline]
    pub fn as_ptr(&self) -> *const bindings::cred {
        self.0.get()
    }

    /// Runs `act` with these credentials in force for the current task.
    ///
    /// Nests: when `act` has returned, the credentials from before are in force again. A guard is
    /// not safe: if it is leaked, or dropped out of order, the task keeps an override for ever, and
    /// the kernel stops (`BUG_ON()`) where such a task sets its own credentials. Process context
    /// only; does not sleep itself.
    #[inline]
    pub fn with<R>(&self, act: impl FnOnce() -> R) -> R {
        // SAFETY: The credentials are alive, as `self` is borrowed; the task takes a reference of
        // its own to them.
        let old = unsafe { bindings::override_creds(self.as_ptr()) };
        let result = act();
        // SAFETY: `old` was in force before, and has the reference that the task had to it. What
        // `act` has overridden it has reverted by the same rule (there is no unwinding out of it),
        // so that the task acts with `self` again, and its reference to that is there to be given
        // up.
        unsafe { bindings::revert_creds(old) };
        result
    }
}

/// Credentials that are being prepared, and that no task has yet.
///
/// # Invariants
///
/// Owns the only reference to credentials that nobody acts with yet.
pub struct NewCredential(NonNull<bindings::cred>);

// SAFETY: The credentials are owned, and may be changed or given up by any task.
unsafe impl Send for NewCredential {}

impl NewCredential {
    /// Prepares credentials for what the kernel does on behalf of the current task.
    ///
    /// They are a copy of the task's own credentials, also while an override is in force: user,
    /// groups, capabilities, user namespace and security context, but not the keyrings. They are
    /// the kernel's own credentials only where the task is the kernel's.
    ///
    /// Errors: `ENOMEM`.
    pub fn for_service() -> Result<Self> {
        // SAFETY: There is nothing to rely on.
        let cred = unsafe { bindings::cfh_prepare_kernel_cred() };
        // INVARIANT: A copy that nobody else knows of.
        NonNull::new(cred).map(Self).ok_or(ENOMEM)
    }

    /// Prepares a copy of the credentials that are in force for the current task, which may be an
    /// override.
    ///
    /// Errors: `ENOMEM`.
    pub fn of_current() -> Result<Self> {
        // SAFETY: There is nothing to rely on.
        let cred = unsafe { bindings::prepare_creds() };
        // INVARIANT: A copy that nobody else knows of.
        NonNull::new(cred).map(Self).ok_or(ENOMEM)
    }

    /// Sets the security context that the credentials act in to `secid`.
    ///
    /// Errors: those of the security module, `EPERM` and `EACCES` above all.
    pub fn set_security_override(&mut self, secid: u32) -> Result {
        // SAFETY: The credentials are ours alone, so they may be changed (type invariant).
        to_result(unsafe { bindings::set_security_override(self.0.as_ptr(), secid) })
    }

    /// Makes files that are created with the credentials get the owner and security context of
    /// `inode`.
    ///
    /// Errors: `EINVAL` for an owner without a mapping; those of the security module.
    pub fn create_files_as(&mut self, inode: &Inode) -> Result {
        // SAFETY: The credentials are ours alone, so they may be changed (type invariant); the
        // inode is alive while it is borrowed.
        to_result(unsafe { bindings::set_create_files_as(self.0.as_ptr(), inode.as_ptr()) })
    }

    /// Publishes the credentials: from now on they do not change, and can be used.
    #[inline]
    pub fn publish(self) -> ARef<Credential> {
        let cred = ManuallyDrop::new(self).0;
        // SAFETY: The one reference goes over to the answer.
        unsafe { ARef::from_raw(cred.cast()) }
    }
}

impl Drop for NewCredential {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The type invariant: the reference is ours to give up.
        unsafe { bindings::cfh_put_cred(self.0.as_ptr()) };
    }
}
