// SPDX-License-Identifier: GPL-2.0

//! The VFS as a cache in a directory uses it.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/namei.h`](srctree/include/linux/namei.h),
//! [`include/linux/dcache.h`](srctree/include/linux/dcache.h),
//! [`include/linux/mount.h`](srctree/include/linux/mount.h).
//!
//! All of it works on the cache's own directory tree with the cache's own credentials, so it takes
//! names and dentries and no user memory. Every function runs in process context and may sleep,
//! unless it says otherwise.
//!
//! # Three facts that make it sound
//!
//! - A dentry that is held and positive stays positive: `d_delete()` makes a dentry negative only
//!   if its caller has the one reference. So an [`Inode`] can be borrowed from a [`Dentry`]. The
//!   functions here that delete take a reference of their own for the time of the call.
//! - The child of a locked directory stays its child, and a name in it stays a name. Functions that
//!   change a directory check both first (`ESTALE`): the VFS has a `BUG_ON()` where it relies on
//!   the one, file systems are damaged where they rely on the other, and the administrator can
//!   rename or delete anything between a lookup and the lock.
//! - A lock is released by the task that took it: the guards are not `Send`.

mod dentry;
mod dir;
mod file;
mod inode;
mod mount;
mod path;
mod rename;
mod super_block;
mod xattr;

pub use self::{
    dentry::{Dentry, DentryName},
    dir::{may_create_in, LockedDir},
    file::{FallocMode, File, Whence},
    inode::{Inode, InodeGuard},
    mount::{Mount, Statfs, WantWrite, EXT4_SUPER_MAGIC},
    path::Path,
    rename::RenameLock,
    super_block::{FileSystem, Journal, MountOptions},
};

use cachefiles_bindings as bindings;
use kernel::error::{code::EINVAL, Result};

/// Returns the identity mapping of user and group ids, as a cache accepts no id-mapped mount.
#[inline]
fn nop_idmap() -> *mut bindings::mnt_idmap {
    &raw mut bindings::nop_mnt_idmap
}

/// Returns the length of a name as the lookup functions of the VFS take it.
///
/// Errors: `EINVAL` for a length that no `int` can hold. A name that is too long for the file
/// system is refused by the file system (`ENAMETOOLONG`).
#[inline]
fn name_len(name: &[u8]) -> Result<kernel::ffi::c_int> {
    name.len().try_into().map_err(|_| EINVAL)
}
