// SPDX-License-Identifier: GPL-2.0

//! Dentries: names in directories.
//!
//! C header: [`include/linux/dcache.h`](srctree/include/linux/dcache.h).

use super::{name_len, Inode};
use cachefiles_bindings as bindings;
use core::{fmt, mem::MaybeUninit, ptr::NonNull};
use kernel::{
    error::{code::ENOTDIR, from_err_ptr, Result},
    str::BStr,
    types::{ARef, AlwaysRefCounted, Opaque},
};

/// A directory entry (`struct dentry`).
///
/// # Invariants
///
/// The dentry has a reference count above zero, and its super block an active reference, so that
/// the file system is not shut down, for as long as a reference to this value exists.
#[repr(transparent)]
pub struct Dentry(Opaque<bindings::dentry>);

// SAFETY: `dput()` may be called by any task, and what is reached through a shared reference is
// constant, or read and locked as the VFS does it.
unsafe impl Send for Dentry {}
// SAFETY: What several tasks may reach through a shared reference at once is constant, or read and
// locked as the VFS does it.
unsafe impl Sync for Dentry {}

// SAFETY: `dget()` and `dput()` count the references that keep a dentry alive, and `s_active` those
// that keep its file system from being shut down; all dentries and super blocks are counted.
unsafe impl AlwaysRefCounted for Dentry {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: `self` is a dentry with a reference, and its super block has an active one (type
        // invariant), so that neither count is zero.
        unsafe { bindings::cfh_dget_active(self.as_ptr()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns the reference that is given up, with the one to the super block
        // that came with it. `Dentry` is transparent, and an `Opaque` has the address of what is in
        // it.
        unsafe { bindings::cfh_dput_active(obj.cast().as_ptr()) };
    }
}

impl Dentry {
    /// Borrows a dentry from a pointer of C.
    ///
    /// # Safety
    ///
    /// `ptr` is a dentry that has a reference, and whose super block has an active one, as by a
    /// mount, for all of `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::dentry) -> &'a Self {
        // SAFETY: `Dentry` is transparent over `dentry`; the rest is the caller's promise.
        // INVARIANT: The caller promises both references.
        unsafe { &*ptr.cast() }
    }

    /// Takes over the result of a C lookup function: a dentry with a reference, or an error.
    ///
    /// # Safety
    ///
    /// `ptr` is the error pointer or not null, and in the latter case its reference is the
    /// caller's to give away, and its super block has an active one.
    #[inline]
    pub(super) unsafe fn from_lookup(ptr: *mut bindings::dentry) -> Result<ARef<Self>> {
        let ptr = from_err_ptr(ptr)?;
        // SAFETY: Not an error, so a dentry, of a super block that is active (the caller's
        // promise).
        unsafe { bindings::cfh_hold_super(ptr) };
        // SAFETY: Not null, with a reference for us (the caller's promise), and with one to its
        // super block, taken just now.
        Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(ptr.cast())) })
    }

    /// Returns the pointer that C functions take.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::dentry {
        self.0.get()
    }

    /// Returns whether no file has this name.
    #[inline]
    pub fn is_negative(&self) -> bool {
        // SAFETY: `self` is a dentry with a reference (type invariant).
        unsafe { bindings::cfh_d_is_negative(self.as_ptr()) }
    }

    /// Returns whether this is a directory.
    #[inline]
    pub fn is_dir(&self) -> bool {
        // SAFETY: `self` is a dentry with a reference (type invariant).
        unsafe { bindings::cfh_d_is_dir(self.as_ptr()) }
    }

    /// Returns whether this is a regular file.
    #[inline]
    pub fn is_regular(&self) -> bool {
        // SAFETY: `self` is a dentry with a reference (type invariant).
        unsafe { bindings::cfh_d_is_reg(self.as_ptr()) }
    }

    /// Returns whether names can be looked up in this dentry: it is a directory, and no mere
    /// automount point.
    #[inline]
    pub fn can_lookup(&self) -> bool {
        // SAFETY: `self` is a dentry with a reference (type invariant).
        unsafe { bindings::cfh_d_can_lookup(self.as_ptr()) }
    }

    /// Returns whether a lookup would not find this dentry any more.
    #[inline]
    pub fn is_unhashed(&self) -> bool {
        // SAFETY: `self` is a dentry with a reference (type invariant).
        unsafe { bindings::cfh_d_unhashed(self.as_ptr()) }
    }

    /// Returns whether something is mounted on it, in any namespace.
    #[inline]
    pub fn is_mountpoint(&self) -> bool {
        // SAFETY: `self` is a dentry with a reference (type invariant).
        unsafe { bindings::cfh_d_mountpoint(self.as_ptr()) }
    }

    /// Returns the inode of this name; none for a negative dentry.
    #[inline]
    pub fn inode(&self) -> Option<&Inode> {
        // SAFETY: `self` is a dentry with a reference (type invariant).
        let inode = unsafe { bindings::cfh_d_backing_inode(self.as_ptr()) };
        // SAFETY: A positive dentry that is held stays positive and holds its inode, for
        // as long as `self` is borrowed.
        (!inode.is_null()).then(|| unsafe { Inode::from_raw(inode) })
    }

    /// Returns whether `dir` is the parent at this moment. The answer holds only while `dir` is
    /// locked.
    #[inline]
    pub fn is_child_of(&self, dir: &Dentry) -> bool {
        // SAFETY: `self` is a dentry with a reference; the pointer in it may change at any time,
        // which is why it is read as a volatile, and is only compared.
        let parent = unsafe { (&raw const (*self.as_ptr()).d_parent).read_volatile() };
        core::ptr::eq(parent, dir.as_ptr())
    }

    /// Returns whether this is a name in `dir`, of a file or of none: a child that the directory
    /// still has. Exact only while `dir` is locked.
    ///
    /// When a name is deleted, its dentry and the parent stay with an open file; and a file that
    /// was made without a name has a dentry as well. Neither is a name to the file system: to
    /// delete it once more damages XFS, and the link counts of others.
    ///
    /// Of a negative dentry only the parent is checked, as some file systems do not hash them.
    #[inline]
    pub(super) fn is_name_in(&self, dir: &Dentry) -> bool {
        self.is_child_of(dir) && (self.is_negative() || !self.is_unhashed())
    }

    /// Returns whether this is `dir` or anywhere below it, at this moment.
    #[inline]
    pub fn is_within(&self, dir: &Dentry) -> bool {
        // SAFETY: Both are dentries with references (type invariant).
        unsafe { bindings::is_subdir(self.as_ptr(), dir.as_ptr()) }
    }

    /// Returns whether the file system is mounted read-only as a whole.
    #[inline]
    pub fn super_block_is_read_only(&self) -> bool {
        // SAFETY: The super block is active (type invariant), and so alive.
        unsafe { bindings::cfh_sb_rdonly(self.super_block()) }
    }

    /// Returns the file system's block size in bytes.
    #[inline]
    pub fn super_block_size(&self) -> u64 {
        // SAFETY: The super block is active (type invariant), and so alive; the size is constant
        // once it is mounted.
        unsafe { (*self.super_block()).s_blocksize as u64 }
    }

    /// Returns whether the file system can be synchronised, and can tell how full it is.
    #[inline]
    pub fn super_block_can_sync_and_statfs(&self) -> bool {
        // SAFETY: The super block is active (type invariant), and so alive; every super block has
        // an operation table, which is constant.
        unsafe {
            let ops = (*self.super_block()).s_op;
            (*ops).sync_fs.is_some() && (*ops).statfs.is_some()
        }
    }

    /// Returns whether both are of one file system.
    #[inline]
    pub(super) fn same_super_block(&self, other: &Dentry) -> bool {
        core::ptr::eq(self.super_block(), other.super_block())
    }

    #[inline]
    pub(super) fn super_block(&self) -> *mut bindings::super_block {
        // SAFETY: `self` is a dentry with a reference; its super block does not change.
        unsafe { (*self.as_ptr()).d_sb }
    }

    /// Copies the name as it is at this moment, for printing.
    ///
    /// Takes `d_lock` for a moment; may not sleep.
    pub fn name(&self) -> DentryName {
        let mut snapshot = MaybeUninit::<bindings::name_snapshot>::uninit();
        // SAFETY: `self` is a dentry with a reference. The snapshot, which may point into itself,
        // stays in its place until it is released.
        unsafe { bindings::take_dentry_name_snapshot(snapshot.as_mut_ptr(), self.as_ptr()) };
        // SAFETY: The call filled it in; it holds a name of `len` bytes.
        let name = unsafe {
            let name = &(*snapshot.as_ptr()).name;
            core::slice::from_raw_parts(
                name.name,
                name.__bindgen_anon_1.__bindgen_anon_1.len as usize,
            )
        };
        let copy = DentryName::copy_of(name);
        // SAFETY: This function took the snapshot and releases it once; the slice into it is used
        // no more.
        unsafe { bindings::release_dentry_name_snapshot(snapshot.as_mut_ptr()) };
        copy
    }

    /// Looks up a name in this directory, which is locked only if the name is not in memory.
    /// Returns positive dentries only.
    ///
    /// Errors: `ENOENT`; `ENOTDIR` if this is no directory; `EACCES` for an empty name, `.`, `..`
    /// or one with a slash or NUL, or without permission; `ENAMETOOLONG`, `ENOMEM`, `EIO`.
    pub fn lookup_positive_unlocked(&self, name: &[u8]) -> Result<ARef<Dentry>> {
        let len = name_len(name)?;
        if !self.can_lookup() {
            return Err(ENOTDIR);
        }
        // SAFETY: `name` has `len` bytes; `self` is a directory, as was just checked, and what it
        // is does not change while it is held. The answer's reference is ours, and its super block
        // that of `self`, which is active (type invariant).
        unsafe {
            Self::from_lookup(bindings::lookup_positive_unlocked(
                name.as_ptr().cast(),
                self.as_ptr(),
                len,
            ))
        }
    }
}

/// A copy of the name of a dentry, for log lines.
pub struct DentryName {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl DentryName {
    /// The longest name that a file system with a cache on it can have, in bytes.
    const CAPACITY: usize = bindings::NAME_MAX as usize;

    fn copy_of(name: &[u8]) -> Self {
        let mut bytes = [0; Self::CAPACITY];
        let mut len = 0;
        for (to, from) in bytes.iter_mut().zip(name) {
            *to = *from;
            len += 1;
        }
        Self { bytes, len }
    }
}

impl fmt::Display for DentryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Unprintable bytes are escaped there.
        fmt::Display::fmt(
            BStr::from_bytes(self.bytes.get(..self.len).unwrap_or(&[])),
            f,
        )
    }
}
