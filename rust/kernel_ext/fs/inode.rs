// SPDX-License-Identifier: GPL-2.0

//! Inodes: attributes of a file or directory, and its lock.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use super::{nop_idmap, Dentry, WantWrite};
use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use kernel::{
    error::{code::EINVAL, to_result, Result},
    types::Opaque,
};

/// A file or directory (`struct inode`), borrowed from a dentry or an open file.
///
/// # Invariants
///
/// The inode has a reference count above zero for as long as a reference to this value exists.
#[repr(transparent)]
pub struct Inode(Opaque<bindings::inode>);

// SAFETY: What is reached through a shared reference is constant, read as the VFS reads it, or
// under the inode's lock.
unsafe impl Send for Inode {}
// SAFETY: What several tasks may reach through a shared reference at once is constant, read as the
// VFS reads it without a lock, or under the inode's lock.
unsafe impl Sync for Inode {}

impl Inode {
    /// Borrows an inode from a pointer of C.
    ///
    /// # Safety
    ///
    /// `ptr` is an inode that has a reference for all of `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: `Inode` is transparent over `inode`; the rest is the caller's promise.
        // INVARIANT: The caller promises the reference.
        unsafe { &*ptr.cast() }
    }

    /// Returns the pointer that C functions take.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// Returns the inode number.
    #[inline]
    pub fn ino(&self) -> u64 {
        // SAFETY: `self` is an inode with a reference; its number does not change.
        unsafe { (*self.as_ptr()).i_ino as u64 }
    }

    /// Returns the size in bytes. May be called in any context.
    #[inline]
    pub fn size(&self) -> i64 {
        // SAFETY: `self` is an inode with a reference (type invariant).
        unsafe { bindings::cfh_i_size_read(self.as_ptr()) }
    }

    /// Returns the space that the file takes, in blocks of 512 bytes; only a snapshot.
    #[inline]
    pub fn blocks(&self) -> u64 {
        // SAFETY: `self` is an inode with a reference. The number changes under a lock of the
        // inode's own, which the C code does not take for a figure that is old at once anyway.
        unsafe { (&raw const (*self.as_ptr()).i_blocks).read_volatile() }
    }

    /// Returns whether a cache can have its root here: subdirectories, files without a name and
    /// extended attributes are supported.
    pub fn can_be_cache_root(&self) -> bool {
        let ops = self.operations();
        ops.lookup.is_some()
            && ops.mkdir.is_some()
            && ops.tmpfile.is_some()
            && self.supports_xattrs()
    }

    /// Returns whether a cache can have a directory of its own here.
    pub fn can_be_cache_dir(&self) -> bool {
        let ops = self.operations();
        self.supports_xattrs()
            && ops.lookup.is_some()
            && ops.mkdir.is_some()
            && ops.rename.is_some()
            && ops.rmdir.is_some()
            && ops.unlink.is_some()
    }

    #[inline]
    fn supports_xattrs(&self) -> bool {
        // SAFETY: `self` is an inode with a reference (type invariant). Other bits of the word are
        // set while it is in use, hence the volatile read.
        let flags = unsafe { (&raw const (*self.as_ptr()).i_opflags).read_volatile() };
        u32::from(flags) & bindings::IOP_XATTR != 0
    }

    #[inline]
    fn operations(&self) -> &bindings::inode_operations {
        // SAFETY: `self` is an inode with a reference; the table is never null, and constant for
        // the time that the inode is what it is.
        unsafe { &*(*self.as_ptr()).i_op }
    }

    #[inline]
    fn flags(&self) -> u32 {
        // SAFETY: `self` is an inode with a reference. The flags may change under the inode's lock,
        // hence the volatile read.
        unsafe { (&raw const (*self.as_ptr()).i_flags).read_volatile() }
    }

    /// Returns whether the inode is marked `S_KERNEL_FILE`: in use by the kernel, so that user
    /// space may not delete or replace it. Only a snapshot, without the lock.
    #[inline]
    pub fn is_kernel_file(&self) -> bool {
        self.flags() & bindings::S_KERNEL_FILE != 0
    }

    /// Returns whether this is a directory that has been deleted.
    #[inline]
    pub(super) fn is_dead(&self) -> bool {
        self.flags() & bindings::S_DEAD != 0
    }

    /// Locks the inode. Sleeps uninterruptibly.
    #[inline]
    pub fn lock(&self) -> InodeGuard<'_> {
        // SAFETY: `self` is an inode with a reference (type invariant).
        unsafe { bindings::cfh_inode_lock(self.as_ptr()) };
        // INVARIANT: It was locked just now.
        InodeGuard {
            inode: self,
            _not_send: PhantomData,
        }
    }

    /// Clears the mark that [`InodeGuard::mark_kernel_file`] sets.
    ///
    /// # Safety
    ///
    /// The inode is locked by this task.
    #[inline]
    pub(super) unsafe fn clear_kernel_file_locked(&self) {
        let flags = self.flags() & !bindings::S_KERNEL_FILE;
        // SAFETY: `self` is an inode with a reference, and its lock, under which the flags change,
        // is held (the caller's promise). Readers without it want a single store.
        unsafe { (&raw mut (*self.as_ptr()).i_flags).write_volatile(flags) };
    }
}

/// A locked inode.
///
/// # Invariants
///
/// This task holds the inode's lock for writing, and gives it up when this is dropped.
#[must_use = "the inode is unlocked when this is dropped"]
pub struct InodeGuard<'a> {
    inode: &'a Inode,
    _not_send: PhantomData<*mut ()>,
}

impl InodeGuard<'_> {
    /// Returns the inode.
    #[inline]
    pub fn inode(&self) -> &Inode {
        self.inode
    }

    /// Returns whether the inode is marked `S_KERNEL_FILE`; exact, as the lock is held.
    #[inline]
    pub fn is_kernel_file(&self) -> bool {
        self.inode.is_kernel_file()
    }

    /// Marks the inode as in use by the kernel. False if another user has marked it already.
    #[inline]
    pub fn mark_kernel_file(&mut self) -> bool {
        let flags = self.inode.flags();
        if flags & bindings::S_KERNEL_FILE != 0 {
            return false;
        }
        // SAFETY: The inode is alive while it is borrowed, and locked (type invariant).
        unsafe {
            (&raw mut (*self.inode.as_ptr()).i_flags)
                .write_volatile(flags | bindings::S_KERNEL_FILE)
        };
        true
    }

    /// Clears the mark `S_KERNEL_FILE`.
    #[inline]
    pub fn clear_kernel_file(&mut self) {
        // SAFETY: The inode is locked by this task (type invariant).
        unsafe { self.inode.clear_kernel_file_locked() };
    }

    /// Sets the size of the file, and discards data beyond it.
    ///
    /// Errors: `EXDEV` if `write` is of another file system; `EINVAL` if this is no regular file,
    /// if `dentry` is not a name of it, or for a negative size; `EFBIG`, `ENOSPC`, `EIO`, `EPERM`,
    /// and others of the file system.
    pub fn set_size(&mut self, write: &WantWrite<'_>, dentry: &Dentry, size: i64) -> Result {
        write.check(dentry)?;
        let is_ours = dentry
            .inode()
            .is_some_and(|inode| core::ptr::eq(inode, self.inode));
        // File systems leave it to the VFS to ask what it is: XFS cuts the blocks of a directory
        // off.
        if !is_ours || !dentry.is_regular() || size < 0 {
            return Err(EINVAL);
        }
        let mut attr = bindings::iattr {
            ia_valid: bindings::ATTR_SIZE,
            ia_size: size,
            ..Default::default()
        };
        // SAFETY: The dentry is alive and that of a regular file, and its inode locked by this
        // task, as `notify_change()` demands. A null place for a delegated inode means: wait for no
        // lease.
        to_result(unsafe {
            bindings::notify_change(
                nop_idmap(),
                dentry.as_ptr(),
                &mut attr,
                core::ptr::null_mut(),
            )
        })
    }
}

impl Drop for InodeGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The type invariant: this task holds the lock.
        unsafe { bindings::cfh_inode_unlock(self.inode.as_ptr()) };
    }
}
