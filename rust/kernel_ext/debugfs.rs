// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that list something, one line for each thing.
//!
//! C headers: `include/linux/debugfs.h`, `include/linux/seq_file.h`
//!
//! They are for root to read (mode 0400), also in a kernel that is locked down. Where there is no
//! debugfs, nothing is made and nothing fails. The module cannot be unloaded while such a file is
//! open: the table of operations names it as its owner.

use crate::module::{check_owner, THIS_MODULE};
use cachefiles_bindings as bindings;
use core::ffi::c_void;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use kernel::ffi::c_int;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::ThisModule;

/// Something that can be listed.
pub trait Listing: 'static {
    /// The first line, without its newline: what the columns are.
    const HEADER: &'static str;

    /// Writes the first thing whose position is not below `position`, as one line without a
    /// newline. Returns its position; `None` if there is nothing, and then what was written does
    /// not count. What does not fit into a [`Line`] is cut off.
    ///
    /// Positions are below 2^62. What there is may change from one call to the next: a thing keeps
    /// its position as long as it exists. Process context; may sleep.
    fn next(position: u64, line: &mut Line) -> Option<u64>;
}

/// A line that is being written, of at most [`Line::CAPACITY`] bytes.
pub struct Line {
    bytes: KVec<u8>,
    len: usize,
}

impl Line {
    /// Bytes in a line, with the newline.
    pub const CAPACITY: usize = 3072;

    /// Creates an empty line. Error: ENOMEM.
    pub fn new() -> Result<Self> {
        Ok(Self {
            bytes: KVec::from_elem(0, Self::CAPACITY, GFP_KERNEL)?,
            len: 0,
        })
    }

    /// Returns what was written.
    pub fn written(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    fn put(&mut self, text: &[u8], capacity: usize) {
        let room = self.bytes.get_mut(self.len..capacity).unwrap_or(&mut []);
        let taken = text.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..taken), text.get(..taken)) {
            to.copy_from_slice(from);
            self.len += taken;
        }
    }
}

impl fmt::Write for Line {
    /// Adds to the line what fits. Does not fail.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes(), Self::CAPACITY - 1);
        Ok(())
    }
}

/// A directory in debugfs. Dropping it removes it with its files, and waits for those who read them
/// at this moment. Sleeps.
///
/// # Invariants
///
/// The module is not unloaded before this is dropped: the files name tables that are in it.
/// `dentry` is what `debugfs_create_dir` returned: a directory, or an error, which the other
/// functions of debugfs accept as well.
pub struct Directory {
    dentry: *mut bindings::dentry,
}

// SAFETY: debugfs has locks of its own.
unsafe impl Send for Directory {}
// SAFETY: debugfs has locks of its own.
unsafe impl Sync for Directory {}

impl Directory {
    /// Creates a directory at the root of debugfs. Sleeps. Error: EINVAL, `module` is not the
    /// module that this code is in.
    ///
    /// Where the name is taken, or the kernel has no debugfs, there is none, and files are not made
    /// either.
    pub fn create(name: &'static CStr, module: &'static ThisModule) -> Result<Self> {
        check_owner(module)?;
        // SAFETY: The name ends with a NUL.
        let dentry = unsafe { bindings::cfh_debugfs_create_dir(name.as_char_ptr()) };
        // INVARIANT: Just returned.
        Ok(Self { dentry })
    }

    /// Adds a file that lists `T`. Sleeps.
    pub fn add<T: Listing>(&self, name: &'static CStr) {
        // SAFETY: The name ends with a NUL; the parent is a directory or an error, by the type
        // invariant; the table is a constant of this module, which is there until this is dropped.
        unsafe {
            bindings::cfh_debugfs_create_file(
                name.as_char_ptr(),
                self.dentry,
                &Operations::<T>::FILE,
            )
        };
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: The directory is ours to remove; an error is let pass.
        unsafe { bindings::cfh_debugfs_remove(self.dentry) };
    }
}

/// The callbacks from C.
struct Operations<T>(PhantomData<T>);

impl<T: Listing> Operations<T> {
    const FILE: bindings::file_operations = bindings::file_operations {
        owner: THIS_MODULE,
        open: Some(Self::open),
        read: Some(bindings::seq_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(Self::release),
        // SAFETY: All zeroes is a valid table: every operation is a nullable pointer.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    const SEQUENCE: bindings::seq_operations = bindings::seq_operations {
        start: Some(Self::start),
        stop: Some(Self::stop),
        next: Some(Self::next),
        show: Some(Self::show),
    };

    /// # Safety
    ///
    /// As for `open` of `struct file_operations`.
    unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        let line = Line::new().and_then(|line| Ok(KBox::new(line, GFP_KERNEL)?));
        let line = match line {
            Ok(line) => line,
            Err(error) => return error.to_errno(),
        };
        // SAFETY: The file is being opened, and the table is static.
        let ret = unsafe { bindings::seq_open(file, &Self::SEQUENCE) };
        if ret == 0 {
            // SAFETY: `seq_open` has put a `seq_file` there, which nobody else has yet.
            unsafe {
                let sequence = (*file).private_data.cast::<bindings::seq_file>();
                (*sequence).private = KBox::into_raw(line).cast();
            }
        }
        ret
    }

    /// # Safety
    ///
    /// As for `release` of `struct file_operations`: once, for what `open` succeeded on.
    unsafe extern "C" fn release(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` has put both there.
        let line = unsafe { (*(*file).private_data.cast::<bindings::seq_file>()).private };
        // SAFETY: It came out of a `KBox`, and no call on the file is under way.
        drop(unsafe { KBox::from_raw(line.cast::<Line>()) });
        // SAFETY: `seq_open` succeeded on it, and this is its release.
        unsafe { bindings::seq_release(inode, file) }
    }

    /// Has the line at `position`, or the next one, written. Null at the end.
    ///
    /// # Safety
    ///
    /// `sequence` is that of a file of this table, and its mutex is held.
    unsafe fn find(
        sequence: *mut bindings::seq_file,
        position: &mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: `open` has put it there, and the mutex makes this the only access.
        let line = unsafe { &mut *(*sequence).private.cast::<Line>() };
        line.clear();
        // A list may be long, and is walked from its beginning after a seek.
        crate::task::cond_resched();
        // Position 0 is the header's.
        let found = match u64::try_from(*position) {
            Ok(0) => {
                line.put(T::HEADER.as_bytes(), Line::CAPACITY - 1);
                Some(0)
            }
            Ok(from) => T::next(from - 1, line).and_then(|at| at.checked_add(1)),
            Err(_) => None,
        };
        match found.and_then(|at| bindings::loff_t::try_from(at).ok()) {
            // One that goes back would be listed for ever.
            Some(at) if at >= *position => {
                *position = at;
                line.put(b"\n", Line::CAPACITY);
                core::ptr::from_mut(line).cast()
            }
            _ => null_mut(),
        }
    }

    /// # Safety
    ///
    /// As for `start` of `struct seq_operations`.
    unsafe extern "C" fn start(
        sequence: *mut bindings::seq_file,
        position: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: seq_file holds its mutex during the call, and lends us the position.
        unsafe { Self::find(sequence, &mut *position) }
    }

    /// # Safety
    ///
    /// As for `next` of `struct seq_operations`.
    unsafe extern "C" fn next(
        sequence: *mut bindings::seq_file,
        _line: *mut c_void,
        position: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: seq_file lends us the position during the call.
        let position = unsafe { &mut *position };
        let Some(next) = position.checked_add(1) else {
            return null_mut();
        };
        *position = next;
        // SAFETY: seq_file holds its mutex during the call.
        unsafe { Self::find(sequence, position) }
    }

    /// # Safety
    ///
    /// As for `stop` of `struct seq_operations`.
    unsafe extern "C" fn stop(_sequence: *mut bindings::seq_file, _line: *mut c_void) {}

    /// # Safety
    ///
    /// As for `show` of `struct seq_operations`.
    unsafe extern "C" fn show(sequence: *mut bindings::seq_file, line: *mut c_void) -> c_int {
        // SAFETY: What `start` or `next` has returned, and the mutex of seq_file is held.
        let line = unsafe { &*line.cast::<Line>() }.written();
        // SAFETY: The bytes are initialised, and copied.
        unsafe { bindings::seq_write(sequence, line.as_ptr().cast(), line.len()) };
        0
    }
}
