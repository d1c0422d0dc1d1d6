// SPDX-License-Identifier: GPL-2.0

//! Mounts: write access, space and synchronisation of the file system behind them.
//!
//! C headers: [`include/linux/mount.h`](srctree/include/linux/mount.h),
//! [`include/linux/statfs.h`](srctree/include/linux/statfs.h).

use super::{Dentry, Inode};
use cachefiles_bindings as bindings;
use core::ptr::NonNull;
use kernel::{
    error::{code::EXDEV, to_result, Result},
    types::{AlwaysRefCounted, Opaque},
};

/// A mounted file system (`struct vfsmount`).
///
/// # Invariants
///
/// The mount has a reference count above zero for as long as a reference to this value exists.
#[repr(transparent)]
pub struct Mount(Opaque<bindings::vfsmount>);

// SAFETY: The count is atomic, `mntput()` may be called by any task, and what is reached through a
// shared reference is constant or locked by the VFS.
unsafe impl Send for Mount {}
// SAFETY: What several tasks may reach through a shared reference at once is constant, or locked by
// the VFS.
unsafe impl Sync for Mount {}

// SAFETY: `mntget()` and `mntput()` count the references that keep a mount alive; all mounts are
// counted.
unsafe impl AlwaysRefCounted for Mount {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: `self` is a mount with a reference (type invariant).
        unsafe { bindings::mntget(self.as_ptr()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns the reference that is given up. `Mount` is transparent, and an
        // `Opaque` has the address of what is in it.
        unsafe { bindings::mntput(obj.cast().as_ptr()) };
    }
}

impl Mount {
    /// Borrows a mount from a pointer of C.
    ///
    /// # Safety
    ///
    /// `ptr` is a mount that has a reference for all of `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::vfsmount) -> &'a Self {
        // SAFETY: `Mount` is transparent over `vfsmount`; the rest is the caller's promise.
        // INVARIANT: The caller promises the reference.
        unsafe { &*ptr.cast() }
    }

    /// Returns the pointer that C functions take.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::vfsmount {
        self.0.get()
    }

    /// Returns whether user and group ids are mapped on this mount.
    #[inline]
    pub fn is_idmapped(&self) -> bool {
        // SAFETY: `self` is a mount with a reference (type invariant).
        unsafe { bindings::cfh_is_idmapped_mnt(self.as_ptr()) }
    }

    /// Keeps the mount writable, and its file system from being frozen, while the guard lives.
    ///
    /// Sleeps uninterruptibly while the file system is frozen. Take it before the inode locks of
    /// what is to be changed, and only once: the second one of a task would wait for a freeze that
    /// waits for the first.
    ///
    /// Errors: `EROFS`.
    #[inline]
    pub fn want_write(&self) -> Result<WantWrite<'_>> {
        // SAFETY: `self` is a mount with a reference (type invariant).
        to_result(unsafe { bindings::mnt_want_write(self.as_ptr()) })?;
        Ok(WantWrite(self))
    }

    /// Writes all dirty data of the file system, and waits for it (`syncfs()`).
    ///
    /// Takes the super block's `s_umount` for reading.
    ///
    /// Errors: those of the file system, `EIO` above all.
    pub fn sync_filesystem(&self) -> Result {
        let sb = self.super_block();
        // SAFETY: The mount keeps its super block alive, and so the semaphore in it.
        let s_umount = unsafe { &raw mut (*sb).s_umount };
        // SAFETY: The semaphore is initialised for as long as the super block lives.
        unsafe { bindings::down_read(s_umount) };
        // SAFETY: The super block is alive, and `s_umount` is held as the function demands.
        let ret = unsafe { bindings::sync_filesystem(sb) };
        // SAFETY: This task holds the semaphore for reading, since `down_read()`.
        unsafe { bindings::up_read(s_umount) };
        to_result(ret)
    }

    /// Returns space and numbers of files, as seen from the root of the mount.
    ///
    /// Errors: `ENOSYS`, `EIO`, and others of the file system.
    pub fn statfs(&self) -> Result<Statfs> {
        let path = bindings::path {
            mnt: self.as_ptr(),
            // SAFETY: `self` is a mount with a reference; its root does not change.
            dentry: unsafe { (*self.as_ptr()).mnt_root },
        };
        // SAFETY: The mount keeps its root alive; both are while `self` is borrowed.
        unsafe { Statfs::of_raw(&path) }
    }

    /// Returns the root of the mount.
    #[inline]
    pub fn root(&self) -> &Dentry {
        // SAFETY: `self` is a mount with a reference, which holds its root and keeps the super
        // block active; the root does not change.
        unsafe { Dentry::from_raw((*self.as_ptr()).mnt_root) }
    }

    /// Returns the inode of the mount's root.
    #[inline]
    pub fn root_inode(&self) -> &Inode {
        // SAFETY: The root of a mount is held by it and always positive.
        unsafe { Inode::from_raw((*(*self.as_ptr()).mnt_root).d_inode) }
    }

    /// Returns the file system that is mounted.
    #[inline]
    pub(super) fn super_block(&self) -> *mut bindings::super_block {
        // SAFETY: `self` is a mount with a reference; its super block does not change.
        unsafe { (*self.as_ptr()).mnt_sb }
    }
}

/// Write access to a mount, which each function that changes a directory, an attribute or a size
/// asks for: file systems rely on it (ext4 warns, and would change what a snapshot was taken of).
///
/// # Invariants
///
/// `mnt_want_write()` was successful for the mount and is undone when this is dropped.
#[must_use = "write access ends when this is dropped"]
pub struct WantWrite<'a>(&'a Mount);

impl WantWrite<'_> {
    /// Checks that `dentry` is of the file system that may be written to. Errors: `EXDEV`.
    #[inline]
    pub(super) fn check(&self, dentry: &Dentry) -> Result {
        if core::ptr::eq(self.0.super_block(), dentry.super_block()) {
            Ok(())
        } else {
            Err(EXDEV)
        }
    }

    /// Returns the mount.
    #[inline]
    pub(super) fn mount(&self) -> &Mount {
        self.0
    }
}

impl Drop for WantWrite<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The type invariant: there is write access to give up, and the mount is alive.
        unsafe { bindings::mnt_drop_write(self.0.as_ptr()) };
    }
}

/// The [`Statfs::fs_type`] of ext4, and of ext2 and ext3.
pub const EXT4_SUPER_MAGIC: i64 = 0xef53;

/// Size and free space of a file system (`struct kstatfs`).
#[derive(Clone, Copy, Debug)]
pub struct Statfs {
    /// The magic number of the file system (`include/uapi/linux/magic.h`).
    pub fs_type: i64,
    /// Bytes in a block. Some file systems report nonsense: check it.
    pub bsize: i64,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that an unprivileged user can have.
    pub bavail: u64,
    /// Inodes in all.
    pub files: u64,
    /// Inodes that are free.
    pub ffree: u64,
}

impl Statfs {
    /// # Safety
    ///
    /// Mount and dentry of `path` are alive.
    pub(super) unsafe fn of_raw(path: &bindings::path) -> Result<Self> {
        let mut stats = bindings::kstatfs::default();
        // The kernel's own bindings know `kstatfs` by name only, hence the cast.
        //
        // SAFETY: The path is alive (the caller's promise); `stats` is a valid place for the
        // answer, of the C type.
        to_result(unsafe { bindings::vfs_statfs(path, (&raw mut stats).cast()) })?;
        Ok(Self {
            fs_type: stats.f_type as i64,
            bsize: stats.f_bsize as i64,
            blocks: stats.f_blocks,
            bavail: stats.f_bavail,
            files: stats.f_files,
            ffree: stats.f_ffree,
        })
    }
}
