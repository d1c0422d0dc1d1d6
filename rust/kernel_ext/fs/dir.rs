// SPDX-License-Identifier: GPL-2.0

//! Locked directories: look up, create, link and delete names in them.
//!
//! C headers: [`include/linux/namei.h`](srctree/include/linux/namei.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h) (`vfs_mkdir()` and its kin),
//! [`include/linux/security.h`](srctree/include/linux/security.h).

use super::{name_len, nop_idmap, Dentry, Inode, Mount, WantWrite};
use crate::errno::ESTALE;
use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use kernel::{
    error::{
        code::{ENOENT, ENOTDIR},
        to_result, Result,
    },
    types::ARef,
};

/// A directory whose inode is locked as that of a parent (`I_MUTEX_PARENT`).
///
/// # Invariants
///
/// `dentry` is a directory, `inode` is its inode, and this task holds the inode's lock, which it
/// gives up when this is dropped.
#[must_use = "the directory is unlocked when this is dropped"]
pub struct LockedDir<'a> {
    dentry: &'a Dentry,
    inode: &'a Inode,
    _not_send: PhantomData<*mut ()>,
}

impl Dentry {
    /// Locks this directory, so that names in it can be changed.
    ///
    /// Sleeps uninterruptibly. The lock of a child may be taken while this one is held.
    ///
    /// Errors: `ENOENT` if it is negative, `ENOTDIR` if it is no directory.
    #[inline]
    pub fn lock_as_parent(&self) -> Result<LockedDir<'_>> {
        let inode = self.inode().ok_or(ENOENT)?;
        if !self.can_lookup() {
            return Err(ENOTDIR);
        }
        // SAFETY: The inode is alive while `self` is borrowed.
        unsafe { bindings::cfh_inode_lock_parent(inode.as_ptr()) };
        // INVARIANT: A directory, its inode, locked just now.
        Ok(LockedDir {
            dentry: self,
            inode,
            _not_send: PhantomData,
        })
    }
}

impl<'a> LockedDir<'a> {
    /// Returns the directory.
    #[inline]
    pub fn dentry(&self) -> &'a Dentry {
        self.dentry
    }

    /// Returns the path for security hooks. It owns no references.
    #[inline]
    fn path_on(&self, mnt: &Mount) -> bindings::path {
        bindings::path {
            mnt: mnt.as_ptr(),
            dentry: self.dentry.as_ptr(),
        }
    }

    /// Checks that `child` is a name in this directory. Errors: `ESTALE` if it is not: somebody
    /// moved or deleted it before the directory was locked, or it is the dentry of a file that was
    /// made without a name.
    #[inline]
    fn check_child(&self, child: &Dentry) -> Result {
        if child.is_name_in(self.dentry) {
            Ok(())
        } else {
            Err(ESTALE)
        }
    }

    /// Looks up a name. The dentry may be negative.
    ///
    /// Errors: `EACCES` for an empty name, `.`, `..` or one with a slash or NUL, or without
    /// permission; `ENOENT` if the directory itself was deleted; `ENAMETOOLONG`, `ENOMEM`, `EIO`.
    pub fn lookup(&self, name: &[u8]) -> Result<ARef<Dentry>> {
        let len = name_len(name)?;
        // SAFETY: `name` has `len` bytes; the dentry is a locked directory (type invariant); the
        // answer's reference is ours, and its super block that of the directory, which is active.
        unsafe {
            Dentry::from_lookup(bindings::lookup_one_len(
                name.as_ptr().cast(),
                self.dentry.as_ptr(),
                len,
            ))
        }
    }

    /// Asks the security module whether a directory of the name `child` may be made.
    ///
    /// Errors: those of the module, `EACCES` above all.
    #[inline]
    pub fn may_mkdir(&self, write: &WantWrite<'_>, child: &Dentry, mode: u16) -> Result {
        let path = self.path_on(write.mount());
        // SAFETY: Mount, directory and child are alive while they are borrowed.
        to_result(unsafe { bindings::cfh_security_path_mkdir(&path, child.as_ptr(), mode) })
    }

    /// Makes a directory of the name `child`.
    ///
    /// On some file systems `child` is unhashed and still negative afterwards: look it up again
    /// then.
    ///
    /// Errors: `EXDEV` if `write` is of another file system; `ESTALE` if `child` is not in this
    /// directory any more; `EEXIST`, `EACCES`, `EPERM`, `EMLINK`, `ENOENT` if the directory itself
    /// was deleted, `ENOSPC`, `EIO`, and others.
    pub fn mkdir(&self, write: &WantWrite<'_>, child: &Dentry, mode: u16) -> Result {
        write.check(self.dentry)?;
        self.check_child(child)?;
        // SAFETY: The inode is that of a locked directory (type invariant), and `child` is one of
        // its children and stays so while it is locked.
        to_result(unsafe {
            bindings::vfs_mkdir(nop_idmap(), self.inode.as_ptr(), child.as_ptr(), mode)
        })
    }

    /// Asks the security module whether `child` may be deleted.
    ///
    /// Errors: those of the module, `EACCES` above all.
    #[inline]
    pub fn may_unlink(&self, write: &WantWrite<'_>, child: &Dentry) -> Result {
        let path = self.path_on(write.mount());
        // SAFETY: Mount, directory and child are alive while they are borrowed.
        to_result(unsafe { bindings::cfh_security_path_unlink(&path, child.as_ptr()) })
    }

    /// Deletes the name `child` of something that is no directory.
    ///
    /// Errors: `EXDEV` if `write` is of another file system; `ESTALE` if `child` is no name in this
    /// directory (any more); `ENOENT` if it is negative; `EISDIR`, `EPERM` also for a kernel file
    /// of another user, `EBUSY`, `EIO`, and others.
    pub fn unlink(&self, write: &WantWrite<'_>, child: &Dentry) -> Result {
        write.check(self.dentry)?;
        self.check_child(child)?;
        // With the one reference alone, a deleted dentry would be made negative, and take the inode
        // away under an open file and everything borrowed from it.
        let child: ARef<Dentry> = child.into();
        // SAFETY: The inode is that of a locked directory (type invariant), and `child` is one of
        // its children and stays so while it is locked. A null place for a delegated inode means:
        // wait for no lease.
        to_result(unsafe {
            bindings::vfs_unlink(
                nop_idmap(),
                self.inode.as_ptr(),
                child.as_ptr(),
                core::ptr::null_mut(),
            )
        })
    }

    /// Gives the file `source` the name `target` in this directory. Locks the file's inode.
    ///
    /// Errors: `EXDEV` if `write` or `source` is of another file system; `ESTALE` if `target` is
    /// not in this directory any more; `EEXIST` if it is a file; `ENOENT` if `source` is negative
    /// or was deleted; `EPERM`, `EMLINK`, `ENOSPC`, `EIO`, and others.
    pub fn link(&self, write: &WantWrite<'_>, source: &Dentry, target: &Dentry) -> Result {
        write.check(self.dentry)?;
        self.check_child(target)?;
        // SAFETY: `source` is alive; the inode is that of a locked directory (type invariant), and
        // `target` is one of its children and stays so while it is locked. A null place for a
        // delegated inode means: wait for no lease.
        to_result(unsafe {
            bindings::vfs_link(
                source.as_ptr(),
                nop_idmap(),
                self.inode.as_ptr(),
                target.as_ptr(),
                core::ptr::null_mut(),
            )
        })
    }
}

impl Drop for LockedDir<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The type invariant: this task holds the lock.
        unsafe { bindings::cfh_inode_unlock(self.inode.as_ptr()) };
    }
}

/// Asks the security module whether directories, and whether files, may be made in `root` with the
/// credentials that are in force.
///
/// Errors of either: those of the module; `ENOENT` if `root` is negative.
pub fn may_create_in(root: &Dentry) -> (Result, Result) {
    let Some(inode) = root.inode() else {
        return (Err(ENOENT), Err(ENOENT));
    };
    // SAFETY: Dentry and inode are alive while `root` is borrowed.
    let mkdir = unsafe { bindings::cfh_security_inode_mkdir(inode.as_ptr(), root.as_ptr()) };
    // SAFETY: The inode is that of `root`, and both are alive while that is borrowed.
    let create = unsafe { bindings::cfh_security_inode_create(inode.as_ptr(), root.as_ptr()) };
    (to_result(mkdir), to_result(create))
}
