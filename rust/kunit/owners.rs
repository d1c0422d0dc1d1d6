// SPDX-License-Identifier: GPL-2.0

//! Who owns a file, and who this task is.

use crate::bindings;
use kernel::error::{to_result, Result};
use kernel_ext::cred::Credential;
use kernel_ext::fs::{Dentry, Inode};

/// The user id of the file's owner.
pub fn owner(inode: &Inode) -> u32 {
    // SAFETY: The inode is alive while it is borrowed.
    unsafe { bindings::cfk_inode_uid(inode.as_ptr()) }
}

/// Gives the file to another user. Locks the inode. Errors: those of the file system.
pub fn set_owner(dentry: &Dentry, uid: u32) -> Result {
    if dentry.is_negative() {
        return Err(kernel::error::code::ENOENT);
    }
    // SAFETY: The dentry is alive while it is borrowed, and positive.
    to_result(unsafe { bindings::cfk_set_owner(dentry.as_ptr(), uid) })
}

/// Whether this task acts with just these credentials.
pub fn acts_with(cred: &Credential) -> bool {
    // SAFETY: A task has credentials at any time; they are only compared.
    core::ptr::eq(unsafe { bindings::cfh_current_cred() }, cred.as_ptr())
}
