// SPDX-License-Identifier: GPL-2.0

//! Owners of files, and credentials of this task.

use crate::bindings;
use kernel::error::{to_result, Result};
use kernel_ext::cred::Credential;
use kernel_ext::fs::{Dentry, Inode};

/// Returns the user id of the owner of the file.
pub fn owner(inode: &Inode) -> u32 {
    // SAFETY: The inode is alive while it is borrowed.
    unsafe { bindings::cfk_inode_uid(inode.as_ptr()) }
}

/// Changes the owner of the file. Locks the inode. Errors: those of the file system.
pub fn set_owner(dentry: &Dentry, uid: u32) -> Result {
    if dentry.is_negative() {
        return Err(kernel::error::code::ENOENT);
    }
    // SAFETY: The dentry is alive while it is borrowed, and positive.
    to_result(unsafe { bindings::cfk_set_owner(dentry.as_ptr(), uid) })
}

/// Returns whether exactly these credentials are in force for this task.
pub fn acts_with(cred: &Credential) -> bool {
    // SAFETY: A task has credentials at any time; they are only compared.
    core::ptr::eq(unsafe { bindings::cfh_current_cred() }, cred.as_ptr())
}
