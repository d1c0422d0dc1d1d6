// SPDX-License-Identifier: GPL-2.0

//! Open cache files.
//!
//! C headers: [`include/linux/file.h`](srctree/include/linux/file.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h).

use super::{nop_idmap, Dentry, Inode, Path};
use crate::cred::Credential;
use cachefiles_bindings as bindings;
use core::ptr::NonNull;
use kernel::{
    error::{
        code::{EINVAL, ENOENT, ENOTDIR},
        from_err_ptr, to_result, Error, Result,
    },
    types::{ARef, AlwaysRefCounted, Opaque},
};

/// An open file (`struct file`).
///
/// The last reference may be dropped in any context: the file is closed by a task or a worker.
/// Callers drop it outside of spinlocks nevertheless, so that they do not depend on that.
///
/// # Invariants
///
/// The file is open, with a dentry that is positive, and has a reference count above zero for as
/// long as a reference to this value exists.
#[repr(transparent)]
pub struct File(Opaque<bindings::file>);

// SAFETY: `fput()` may be called in any context. Everything reached through a shared reference is
// constant once the file is open, or locked by the VFS.
unsafe impl Send for File {}
// SAFETY: What several tasks may reach through a shared reference at once is constant once the file
// is open, or locked by the VFS.
unsafe impl Sync for File {}

// SAFETY: `get_file()` and `fput()` count the references that keep a file open; all files are
// counted.
unsafe impl AlwaysRefCounted for File {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: `self` is a file with a reference (type invariant).
        unsafe { bindings::cfh_get_file(self.as_ptr()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns the reference that is given up. `File` is transparent, and an
        // `Opaque` has the address of what is in it.
        unsafe { bindings::fput(obj.cast().as_ptr()) };
    }
}

impl File {
    /// Borrows a file from a pointer of C.
    ///
    /// # Safety
    ///
    /// `ptr` is an open file of a file system that has a reference for all of `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::file) -> &'a Self {
        // SAFETY: `File` is transparent over `file`; the rest is the caller's promise.
        // INVARIANT: The caller promises the reference.
        unsafe { &*ptr.cast() }
    }

    /// Returns the pointer that C functions take.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::file {
        self.0.get()
    }

    /// Takes over the result of a C open function: a file with a reference, or an error.
    ///
    /// # Safety
    ///
    /// `ptr` is an error pointer or not null, and in the latter case its reference is the caller's
    /// to give away.
    #[inline]
    unsafe fn from_open(ptr: *mut bindings::file) -> Result<ARef<Self>> {
        let ptr = from_err_ptr(ptr)?;
        // SAFETY: Not an error, so not null, and with a reference for us (the caller's promise).
        Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(ptr.cast())) })
    }

    /// Opens a regular file of the cache for direct I/O, regardless of the limits of the current
    /// task.
    ///
    /// Errors: `ENOENT` if the path is negative, `EINVAL` if it is no regular file or the file
    /// system has no direct I/O; `ETXTBSY`, `ENOMEM`, `EIO`, and others.
    pub fn open_cache_file(path: &Path, cred: &Credential) -> Result<ARef<Self>> {
        if path.dentry().is_negative() {
            return Err(ENOENT);
        }
        if !path.dentry().is_regular() {
            return Err(EINVAL);
        }
        // SAFETY: The path is alive and positive, and so are the credentials. The file takes
        // references of its own. The answer's reference is ours.
        unsafe {
            Self::from_open(bindings::kernel_file_open(
                path.as_ptr(),
                bindings::CACHE_FILE_FLAGS,
                cred.as_ptr(),
            ))
        }
    }

    /// Makes a file without a name in the directory `dir`, open for direct I/O. Takes write access
    /// to the mount.
    ///
    /// Errors: `ENOTDIR` if `dir` is no directory; `EROFS`, `EOPNOTSUPP`, `EACCES`, `ENOSPC`,
    /// `EDQUOT`, `ENOMEM`, `EIO`, `EINVAL` if the file system has no direct I/O, and others.
    pub fn create_tmpfile(dir: &Path, mode: u16, cred: &Credential) -> Result<ARef<Self>> {
        if !dir.dentry().can_lookup() {
            return Err(ENOTDIR);
        }
        let _write = dir.mount().want_write()?;
        // S_IFREG is a bit of the 16 that a mode has.
        let mode = bindings::S_IFREG as u16 | mode;
        // SAFETY: The path is alive and a directory, and the credentials are alive. The file takes
        // references of its own. The answer's reference is ours.
        unsafe {
            Self::from_open(bindings::kernel_tmpfile_open(
                nop_idmap(),
                dir.as_ptr(),
                mode,
                bindings::CACHE_FILE_FLAGS,
                cred.as_ptr(),
            ))
        }
    }

    #[inline]
    fn path_ptr(&self) -> *const bindings::path {
        // SAFETY: `self` is a file with a reference (type invariant).
        unsafe { &raw const (*self.as_ptr()).f_path }
    }

    /// Returns the file's inode. May be called in any context.
    #[inline]
    pub fn inode(&self) -> &Inode {
        // SAFETY: An open file holds its inode, which does not change.
        unsafe { Inode::from_raw((*self.as_ptr()).f_inode) }
    }

    /// Returns the dentry that the file was opened by. May be called in any context.
    #[inline]
    pub fn dentry(&self) -> &Dentry {
        // SAFETY: An open file holds its dentry, which does not change, and its mount, which keeps
        // the super block active.
        unsafe { Dentry::from_raw((*self.path_ptr()).dentry) }
    }

    /// Returns whether the file can be read and written by `iov_iter`, as the cache does it.
    #[inline]
    pub fn has_iter_ops(&self) -> bool {
        // SAFETY: An open file has an operation table, which is constant.
        unsafe {
            let ops = (*self.as_ptr()).f_op;
            (*ops).read_iter.is_some() && (*ops).write_iter.is_some()
        }
    }

    /// Seeks in the file. With [`Whence::Data`] and [`Whence::Hole`] the cache finds out where a
    /// file has data.
    ///
    /// Moves the file's position, which direct I/O by a kiocb does not use.
    ///
    /// Errors: `ENXIO` if there is no data (hole) behind `pos`; `EINVAL`, `EIO`.
    #[inline]
    pub fn llseek(&self, pos: i64, whence: Whence) -> Result<i64> {
        // SAFETY: `self` is a file with a reference (type invariant).
        let ret = unsafe { bindings::vfs_llseek(self.as_ptr(), pos, whence as i32) };
        // Positions may be negative as long as they are no error numbers (`/dev/mem` has such).
        match i32::try_from(ret) {
            Ok(errno) if (-(bindings::MAX_ERRNO as i32)..0).contains(&errno) => {
                Err(Error::from_errno(errno))
            }
            _ => Ok(ret),
        }
    }

    /// Returns whether the page cache has pages between `start` and `end`, in bytes. The answer may
    /// be stale at once.
    ///
    /// False for a file system whose files are in the page cache only.
    #[inline]
    pub fn has_cached_pages(&self, start: i64, end: i64) -> bool {
        if self.has_no_pages() {
            return false;
        }
        // SAFETY: `self` is a file with a reference (type invariant), and so has a mapping.
        unsafe { bindings::cfh_has_cached_pages(self.as_ptr(), start, end.saturating_sub(1)) }
    }

    /// Drops the clean pages of the file from the page cache, also mapped ones; dirty pages stay.
    /// May wait for I/O on those pages.
    ///
    /// Does nothing on a file system whose files are in the page cache only.
    ///
    /// Errors: `EBUSY` if pages stay, as they are dirty or in use.
    #[inline]
    pub fn drop_cached_pages(&self) -> Result {
        if self.has_no_pages() {
            return Ok(());
        }
        // SAFETY: `self` is a file with a reference (type invariant), and so has a mapping.
        to_result(unsafe { bindings::cfh_drop_cached_pages(self.as_ptr()) })
    }

    #[inline]
    fn has_no_pages(&self) -> bool {
        // SAFETY: `self` is a file with a reference (type invariant); an open file has a mapping,
        // which does not change. The number is an aligned long that changes under a lock, and one
        // that is old at once is good enough, hence the volatile read.
        unsafe { (&raw const (*(*self.as_ptr()).f_mapping).nrpages).read_volatile() == 0 }
    }

    /// Updates the access time of the file, which culling goes by.
    #[inline]
    pub fn touch_atime(&self) {
        // SAFETY: An open file holds its path (type invariant).
        unsafe { bindings::touch_atime(self.path_ptr()) };
    }

    /// Sets the file's size in bytes. Takes write access to the mount and locks the inode.
    ///
    /// Errors: `EINVAL` for a negative size; `EFBIG`, `ENOSPC`, `EROFS`, `EPERM`, `EIO`, and
    /// others.
    pub fn truncate(&self, size: i64) -> Result {
        // SAFETY: An open file holds its path (type invariant).
        let ret = unsafe { bindings::vfs_truncate(self.path_ptr(), size) };
        // 0 or an error number, which an `i32` holds.
        to_result(ret as i32)
    }

    /// Changes how a range of the file, in bytes, is stored (`fallocate()`). Takes write access to
    /// the mount.
    ///
    /// Errors: `EOPNOTSUPP`, `EINVAL`, `EFBIG`, `ENOSPC`, `EPERM`, `EIO`, and others.
    pub fn fallocate(&self, mode: FallocMode, start: i64, len: i64) -> Result {
        // SAFETY: `self` is a file with a reference (type invariant).
        to_result(unsafe { bindings::vfs_fallocate(self.as_ptr(), mode.as_raw(), start, len) })
    }

    /// Writes dirty data, attributes and extended attributes of the file to the device, and waits
    /// until they are durable (`fsync()`).
    ///
    /// Errors: `EIO`, `ENOSPC`, `EDQUOT`, and others of the file system.
    pub fn sync(&self) -> Result {
        // SAFETY: `self` is a file with a reference (type invariant).
        to_result(unsafe { bindings::vfs_fsync(self.as_ptr(), 0) })
    }
}

/// Where a seek starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Whence {
    /// The start of the file.
    Set = bindings::SEEK_SET as i32,
    /// The present position.
    Cur = bindings::SEEK_CUR as i32,
    /// The end of the file.
    End = bindings::SEEK_END as i32,
    /// The next data at or behind the offset.
    Data = bindings::SEEK_DATA as i32,
    /// The next hole at or behind the offset.
    Hole = bindings::SEEK_HOLE as i32,
}

impl Whence {
    /// Converts the argument of a system call; `None` for an unknown one.
    pub fn from_raw(whence: i32) -> Option<Self> {
        [Self::Set, Self::Cur, Self::End, Self::Data, Self::Hole]
            .into_iter()
            .find(|w| *w as i32 == whence)
    }
}

/// The operation of [`File::fallocate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallocMode {
    /// Makes the range read as zeros; the file may grow.
    ZeroRange,
    /// Takes the range's space away; the size stays.
    PunchHoleKeepSize,
}

impl FallocMode {
    const fn as_raw(self) -> i32 {
        match self {
            Self::ZeroRange => bindings::FALLOC_FL_ZERO_RANGE,
            Self::PunchHoleKeepSize => {
                bindings::FALLOC_FL_PUNCH_HOLE | bindings::FALLOC_FL_KEEP_SIZE
            }
        }
    }
}
