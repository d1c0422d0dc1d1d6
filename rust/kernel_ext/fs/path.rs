// SPDX-License-Identifier: GPL-2.0

//! Paths: a dentry together with the mount that it is seen through.
//!
//! C headers: [`include/linux/path.h`](srctree/include/linux/path.h),
//! [`include/linux/namei.h`](srctree/include/linux/namei.h).

use super::{Dentry, Mount, Statfs};
use cachefiles_bindings as bindings;
use kernel::{
    error::{
        code::{ENOENT, EXDEV},
        to_result, Result,
    },
    str::CStr,
};

/// An owned `struct path`.
///
/// # Invariants
///
/// Owns a reference to the mount and one to the dentry, which is of the file system that is
/// mounted.
pub struct Path(bindings::path);

// SAFETY: Both references may be given up by any task, and the two pointers do not change.
unsafe impl Send for Path {}
// SAFETY: The two pointers do not change while the path lives, and what they lead to may be shared.
unsafe impl Sync for Path {}

impl Path {
    /// Looks up a directory by its name as a system call of the current task does: relative to its
    /// working directory, in its namespace and with its credentials, following symbolic links.
    ///
    /// Errors: `ENOENT`, also where the task is exiting and has no root any more; `ENOTDIR`,
    /// `EACCES`, `ELOOP`, `ENAMETOOLONG`, `ENOMEM`, `EIO`.
    pub fn lookup_directory(name: &CStr) -> Result<Self> {
        // Which would be the working directory to `kern_path()`.
        if name.is_empty() {
            return Err(ENOENT);
        }
        // SAFETY: Looks at a pointer of the running task, which only the task itself changes.
        if !unsafe { bindings::cfh_current_has_fs() } {
            return Err(ENOENT);
        }
        let mut path = bindings::path::default();
        // SAFETY: `name` is a NUL-terminated string; `path` is a valid place for the answer. The
        // running task has a root and a working directory to begin at.
        to_result(unsafe {
            bindings::kern_path(name.as_char_ptr(), bindings::LOOKUP_DIRECTORY, &mut path)
        })?;
        // INVARIANT: On success `kern_path()` hands over both references.
        Ok(Self(path))
    }

    /// Returns the working directory of the current task.
    ///
    /// Errors: `ENOENT` when the task is exiting and has none any more.
    pub fn of_cwd() -> Result<Self> {
        let mut path = bindings::path::default();
        // SAFETY: `path` is a valid place for the answer.
        if unsafe { bindings::cfh_get_current_pwd(&mut path) } {
            // INVARIANT: The helper took both references.
            Ok(Self(path))
        } else {
            Err(ENOENT)
        }
    }

    /// Combines a mount and a dentry to a path. Takes references to both. Does not sleep.
    ///
    /// Errors: `EXDEV` if the dentry is not of the file system that is mounted.
    #[inline]
    pub fn new(mnt: &Mount, dentry: &Dentry) -> Result<Self> {
        if !core::ptr::eq(mnt.super_block(), dentry.super_block()) {
            return Err(EXDEV);
        }
        let path = bindings::path {
            mnt: mnt.as_ptr(),
            dentry: dentry.as_ptr(),
        };
        // SAFETY: Both are alive, as they are borrowed.
        unsafe { bindings::path_get(&path) };
        // INVARIANT: The references were taken just now, to a mount and a dentry of one file
        // system.
        Ok(Self(path))
    }

    /// Returns the mount.
    #[inline]
    pub fn mount(&self) -> &Mount {
        // SAFETY: The path owns a reference to it (type invariant).
        unsafe { Mount::from_raw(self.0.mnt) }
    }

    /// Returns the dentry.
    #[inline]
    pub fn dentry(&self) -> &Dentry {
        // SAFETY: The path owns a reference to it, and one to the mount, which keeps the super
        // block active (type invariant).
        unsafe { Dentry::from_raw(self.0.dentry) }
    }

    /// Returns space and numbers of files of the file system at this path.
    ///
    /// Errors: `ENOSYS`, `EIO`, and others of the file system.
    pub fn statfs(&self) -> Result<Statfs> {
        // SAFETY: Both parts of the path are alive (type invariant).
        unsafe { Statfs::of_raw(&self.0) }
    }

    /// Returns the pointer that C functions take.
    #[inline]
    pub fn as_ptr(&self) -> *const bindings::path {
        &self.0
    }
}

impl Drop for Path {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The path owns the two references (type invariant).
        unsafe { bindings::path_put(&self.0) };
    }
}

impl Clone for Path {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: The path owns a reference to either part (type invariant).
        unsafe { bindings::path_get(&self.0) };
        // INVARIANT: The references were taken just now, to what is a path already.
        Self(bindings::path {
            mnt: self.0.mnt,
            dentry: self.0.dentry,
        })
    }
}
