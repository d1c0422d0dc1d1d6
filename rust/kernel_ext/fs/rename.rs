// SPDX-License-Identifier: GPL-2.0

//! Moving a name from one directory to another.
//!
//! C headers: [`include/linux/namei.h`](srctree/include/linux/namei.h) (`lock_rename()`),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h) (`vfs_rename()`).

use super::{name_len, nop_idmap, Dentry, Inode, WantWrite};
use crate::errno::ESTALE;
use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use kernel::{
    error::{
        code::{EINVAL, ENOENT, ENOTDIR, EXDEV},
        from_err_ptr, to_result, Result,
    },
    types::ARef,
};

/// Two directories, `a` and `b`, locked for a move from `b` to `a`.
///
/// # Invariants
///
/// - `a` and `b` are directories of one file system, `inode_a` and `inode_b` their inodes.
/// - This task holds what `lock_rename(a, b)` locks, and gives it up when this is dropped.
/// - `trap` is what `lock_rename()` returned; it is compared and never followed.
#[must_use = "the directories are unlocked when this is dropped"]
pub struct RenameLock<'a> {
    a: &'a Dentry,
    b: &'a Dentry,
    inode_a: &'a Inode,
    inode_b: &'a Inode,
    trap: *mut bindings::dentry,
    _not_send: PhantomData<*mut ()>,
}

impl<'a> RenameLock<'a> {
    /// Locks both directories in the order of the VFS (`lock_rename()`).
    ///
    /// Errors: `ENOENT` if one is negative, `ENOTDIR` if one is no directory, `EXDEV` if they are
    /// of two file systems or have no common ancestor.
    pub fn new(a: &'a Dentry, b: &'a Dentry) -> Result<Self> {
        let inode_a = a.inode().ok_or(ENOENT)?;
        let inode_b = b.inode().ok_or(ENOENT)?;
        if !a.can_lookup() || !b.can_lookup() {
            return Err(ENOTDIR);
        }
        if !a.same_super_block(b) {
            return Err(EXDEV);
        }
        // SAFETY: Both are directories of one file system, and alive while they are borrowed.
        let trap = from_err_ptr(unsafe { bindings::lock_rename(a.as_ptr(), b.as_ptr()) })?;
        // INVARIANT: All was checked above, and the locks were taken just now.
        Ok(Self {
            a,
            b,
            inode_a,
            inode_b,
            trap,
            _not_send: PhantomData,
        })
    }

    /// Returns whether `d` is the child of one of the directories that is an ancestor of the other:
    /// to move it, or to move over it, would make a loop.
    #[inline]
    pub fn ancestor_is(&self, d: &Dentry) -> bool {
        core::ptr::eq(self.trap, d.as_ptr())
    }

    /// Returns whether `d` is a directory that was deleted (`S_DEAD`). A negative one counts as
    /// deleted.
    #[inline]
    pub fn is_dead(&self, d: &Dentry) -> bool {
        d.inode().map_or(true, Inode::is_dead)
    }

    /// Looks up a name in `a`. The dentry may be negative.
    ///
    /// Errors: as for [`LockedDir::lookup`](super::LockedDir::lookup).
    pub fn lookup_in_first(&self, name: &[u8]) -> Result<ARef<Dentry>> {
        let len = name_len(name)?;
        // SAFETY: `name` has `len` bytes; `a` is a locked directory (type invariant); the answer's
        // reference is ours, and its super block that of `a`, which is active.
        unsafe {
            Dentry::from_lookup(bindings::lookup_one_len(
                name.as_ptr().cast(),
                self.a.as_ptr(),
                len,
            ))
        }
    }

    /// Checks that both dentries are names in their directories. Errors: `ESTALE` if one is not: it
    /// was moved or deleted before the directories were locked, or never was one; `ENOENT` if
    /// `from_b` is negative.
    fn check_children(&self, from_b: &Dentry, to_a: &Dentry) -> Result {
        if !from_b.is_name_in(self.b) || !to_a.is_name_in(self.a) {
            return Err(ESTALE);
        }
        if from_b.is_negative() {
            return Err(ENOENT);
        }
        Ok(())
    }

    /// Asks the security module whether `from_b` may become `to_a`.
    ///
    /// Errors: those of the module, `EACCES` above all; `ESTALE` and `ENOENT` as for [`rename`].
    ///
    /// [`rename`]: RenameLock::rename
    pub fn may_rename(&self, write: &WantWrite<'_>, from_b: &Dentry, to_a: &Dentry) -> Result {
        self.check_children(from_b, to_a)?;
        let mnt = write.mount();
        let old_dir = bindings::path {
            mnt: mnt.as_ptr(),
            dentry: self.b.as_ptr(),
        };
        let new_dir = bindings::path {
            mnt: mnt.as_ptr(),
            dentry: self.a.as_ptr(),
        };
        // SAFETY: The mount and the four dentries are alive while they are borrowed, and `from_b`
        // is positive, as the hook relies on.
        to_result(unsafe {
            bindings::cfh_security_path_rename(&old_dir, from_b.as_ptr(), &new_dir, to_a.as_ptr())
        })
    }

    /// Moves `from_b`, a child of `b`, to the name `to_a` in `a`.
    ///
    /// Errors: `EXDEV` if `write` is of another file system; `ESTALE` if one of them is not in its
    /// directory any more; `ENOENT` if `from_b` is negative; `EINVAL` if the move would make a
    /// loop; `EPERM`, `EBUSY`, `ENOTEMPTY`, `ENOSPC`, `ENOMEM`, `EIO`, and others.
    pub fn rename(&self, write: &WantWrite<'_>, from_b: &Dentry, to_a: &Dentry) -> Result {
        write.check(self.a)?;
        self.check_children(from_b, to_a)?;
        if self.ancestor_is(from_b) || self.ancestor_is(to_a) {
            return Err(EINVAL);
        }
        let mut data = bindings::renamedata {
            old_mnt_idmap: nop_idmap(),
            old_dir: self.inode_b.as_ptr(),
            old_dentry: from_b.as_ptr(),
            new_mnt_idmap: nop_idmap(),
            new_dir: self.inode_a.as_ptr(),
            new_dentry: to_a.as_ptr(),
            delegated_inode: core::ptr::null_mut(),
            flags: 0,
        };
        // SAFETY: Both directories are locked for a rename (type invariant), each dentry is a child
        // of its directory and stays so while that is locked, and no loop comes of it.
        to_result(unsafe { bindings::vfs_rename(&mut data) })
    }

    /// Clears the in-use mark of `d`, under the lock of its inode, which is taken inside those of
    /// the directories. Does nothing for a negative dentry.
    pub fn clear_kernel_file(&self, d: &Dentry) {
        let Some(inode) = d.inode() else {
            return;
        };
        if core::ptr::eq(inode, self.inode_a) || core::ptr::eq(inode, self.inode_b) {
            // SAFETY: Both are locked by this task already (type invariant).
            unsafe { inode.clear_kernel_file_locked() };
        } else {
            inode.lock().clear_kernel_file();
        }
    }
}

impl Drop for RenameLock<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The type invariant: this task holds the locks.
        unsafe { bindings::unlock_rename(self.a.as_ptr(), self.b.as_ptr()) };
    }
}
