// SPDX-License-Identifier: GPL-2.0

//! Files on an anonymous inode, and the descriptor numbers to install them under.
//!
//! C headers: `include/linux/anon_inodes.h`, `include/linux/file.h`
//!
//! A descriptor is visible to all threads of the process from its installation on, and cannot be
//! taken back. So it takes three steps: a number is reserved and the file is made, early, where
//! that can still fail; the file is installed last.

use crate::errno::{error, to_ssize};
use crate::io::IovIterSource;
use crate::module::{check_owner, THIS_MODULE};
use crate::slab::SlabBox;
use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;
use kernel::ffi::{c_int, c_long, c_uint, c_ulong};
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::ThisModule;

/// Flags of an open file, as in `include/uapi/asm-generic/fcntl.h`.
pub mod oflags {
    use cachefiles_bindings as bindings;

    /// Opened for writing only.
    pub const O_WRONLY: u32 = bindings::O_WRONLY;
    /// Closed by `execve()`.
    pub const O_CLOEXEC: u32 = bindings::O_CLOEXEC;
}

/// A reserved descriptor number of the running process, with nothing installed under it yet.
/// Dropping it gives the number back.
///
/// # Invariants
///
/// `fd` is reserved in the table of the running task.
pub struct FileDescriptorReservation {
    fd: u32,
    // The table is found through the running task.
    _not_send: PhantomData<*mut ()>,
}

impl FileDescriptorReservation {
    /// Reserves the lowest free number. Of `flags` only [`oflags::O_CLOEXEC`] has an effect. May
    /// sleep.
    ///
    /// Errors: EMFILE, ENOMEM; ESRCH, the task is exiting and has no descriptors any more, as in
    /// the release of a file that it had open.
    pub fn new(flags: u32) -> Result<Self> {
        // SAFETY: Looks at a pointer of the running task, which only the task itself changes.
        if !unsafe { bindings::cfh_current_has_files() } {
            return Err(ESRCH);
        }
        // SAFETY: The running task has a table of descriptors.
        let ret = unsafe { bindings::get_unused_fd_flags(flags) };
        // INVARIANT: Just reserved, where it is not negative.
        let fd = u32::try_from(ret).map_err(|_| error(ret))?;
        Ok(Self {
            fd,
            _not_send: PhantomData,
        })
    }

    /// Returns the number.
    #[inline]
    pub fn fd(&self) -> u32 {
        self.fd
    }

    /// Makes the file visible under the number. From here on user space owns it.
    pub fn install<T: AnonFileOps>(self, file: AnonFile<T>) {
        let fd = ManuallyDrop::new(self).fd;
        // SAFETY: The number is reserved in this task's table, by the type invariant; the reference
        // to the file is the table's from here on.
        unsafe { bindings::fd_install(fd, file.into_raw()) };
    }
}

impl Drop for FileDescriptorReservation {
    fn drop(&mut self) {
        // SAFETY: Reserved in this task's table, by the type invariant.
        unsafe { bindings::put_unused_fd(self.fd) };
    }
}

/// The operations of a file. All run in process context and may sleep. All but `release` may run in
/// several threads at a time.
pub trait AnonFileOps: Sized + 'static {
    /// The name that `/proc/<pid>/fd` shows.
    const NAME: &'static CStr;

    /// The data that the file owns.
    type Data: Send + Sync + 'static;

    /// Releases the data: the last reference to the file is gone.
    fn release(data: SlabBox<Self::Data>);

    /// Implements `pwrite()` and its variants: takes data from `iter`, and returns the number of
    /// bytes taken. The write is over when this returns: the caller gets EIO for EIOCBQUEUED, and
    /// never a number above what it asked for.
    fn write(
        data: &Self::Data,
        kiocb: &mut KiocbRef<'_>,
        iter: &mut IovIterSource<'_>,
    ) -> Result<usize>;

    /// Implements `lseek()`: returns the offset found. `whence` is the unchecked argument of user
    /// space.
    fn llseek(data: &Self::Data, offset: i64, whence: i32) -> Result<i64>;

    /// Implements `ioctl()`. ENOTTY is the customary error for an unknown command.
    fn ioctl(data: &Self::Data, cmd: u32, arg: usize) -> Result<isize>;
}

/// A file that is not installed anywhere. Dropping it releases it.
///
/// # Invariants
///
/// `file` is a file of `Operations::<T>::TABLE`, and one reference to it is ours.
pub struct AnonFile<T: AnonFileOps> {
    file: NonNull<bindings::file>,
    _data: PhantomData<SlabBox<T::Data>>,
}

// SAFETY: A reference to a file belongs to no thread; the data may be released in any, being
// `Send`.
unsafe impl<T: AnonFileOps> Send for AnonFile<T> {}
// SAFETY: A shared `AnonFile` gives no access to anything.
unsafe impl<T: AnonFileOps> Sync for AnonFile<T> {}

impl<T: AnonFileOps> AnonFile<T> {
    /// Makes a file that can be written at any offset, and sought in. It holds a reference to the
    /// module. May sleep.
    ///
    /// Errors: EINVAL, `module` is not the module that this code is in; ENFILE, ENOMEM; ENOENT, the
    /// module is being removed. On an error the data is returned with it.
    pub fn create(
        module: &'static ThisModule,
        data: SlabBox<T::Data>,
        flags: u32,
    ) -> core::result::Result<Self, (Error, SlabBox<T::Data>)> {
        if let Err(error) = check_owner(module) {
            return Err((error, data));
        }
        let data = data.into_raw();
        // SAFETY: Name and table are static. The data is that which the table's functions expect.
        let ret = unsafe {
            bindings::cfh_anon_inode_getfile(
                T::NAME.as_char_ptr(),
                &Operations::<T>::TABLE,
                data.cast(),
                flags,
            )
        };
        match kernel_ptr(ret) {
            // INVARIANT: Just made, with one reference.
            Ok(file) => Ok(Self {
                file,
                _data: PhantomData,
            }),
            // SAFETY: There is no file that could have it.
            Err(error) => Err((error, unsafe { SlabBox::from_raw(data) })),
        }
    }

    /// Returns the file together with the reference to it.
    fn into_raw(self) -> *mut bindings::file {
        ManuallyDrop::new(self).file.as_ptr()
    }
}

impl<T: AnonFileOps> Drop for AnonFile<T> {
    fn drop(&mut self) {
        // SAFETY: The reference is ours, by the type invariant.
        unsafe { bindings::fput(self.file.as_ptr()) };
    }
}

/// Converts a pointer of C to a non-null one, or to the error that it encodes.
fn kernel_ptr<P>(ptr: *mut P) -> Result<NonNull<P>> {
    // SAFETY: Looks at the value of the pointer only.
    if unsafe { bindings::IS_ERR(ptr.cast_const().cast()) } {
        // SAFETY: Looks at the value of the pointer only, which is an encoded error.
        let errno = unsafe { bindings::PTR_ERR(ptr.cast_const().cast()) };
        return Err(i32::try_from(errno).map_or(EINVAL, error));
    }
    NonNull::new(ptr).ok_or(ENOMEM)
}

/// The position of a write under way (`struct kiocb`).
///
/// # Invariants
///
/// `kiocb` is valid during `'a`, and nothing else uses its position.
pub struct KiocbRef<'a> {
    kiocb: NonNull<bindings::kiocb>,
    _kiocb: PhantomData<&'a mut bindings::kiocb>,
}

impl KiocbRef<'_> {
    /// Returns the offset in the file, in bytes.
    #[inline]
    pub fn pos(&self) -> i64 {
        // SAFETY: Valid, by the type invariant.
        unsafe { (*self.kiocb.as_ptr()).ki_pos }
    }

    /// Sets the offset of the next write of the same descriptor, unless that write names its own.
    #[inline]
    pub fn set_pos(&mut self, pos: i64) {
        // SAFETY: Valid and ours, by the type invariant.
        unsafe { (*self.kiocb.as_ptr()).ki_pos = pos };
    }
}

/// The callbacks from C.
struct Operations<T>(PhantomData<T>);

impl<T: AnonFileOps> Operations<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: THIS_MODULE,
        release: Some(Self::release),
        write_iter: Some(Self::write_iter),
        llseek: Some(Self::llseek),
        unlocked_ioctl: Some(Self::ioctl),
        // The argument is a number, which a 32-bit process passes in the same form.
        compat_ioctl: Some(Self::ioctl),
        // SAFETY: All zeroes is a valid table: every operation is a nullable pointer.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// `file` is a file of this table, and is not released before the end of `'a`.
    #[inline]
    unsafe fn data<'a>(file: *mut bindings::file) -> &'a T::Data {
        // SAFETY: `create` put a box there, and `release` takes it.
        unsafe { &*(*file).private_data.cast::<T::Data>() }
    }

    /// # Safety
    ///
    /// As for `release` of `struct file_operations`.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `create` put a box there, and nothing uses it after the release.
        T::release(unsafe { SlabBox::from_raw((*file).private_data.cast::<T::Data>()) });
        0
    }

    /// # Safety
    ///
    /// As for `write_iter` of `struct file_operations`.
    unsafe extern "C" fn write_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The file is open during the call.
        let data = unsafe { Self::data((*kiocb).ki_filp) };
        // SAFETY: A caller passes a valid iterator, and leaves it to us for the call.
        let iter = unsafe { IovIterSource::from_raw(iter) };
        // INVARIANT: A caller passes a valid kiocb, and leaves it to us for the call.
        // SAFETY: What is valid is not null.
        let kiocb = unsafe { NonNull::new_unchecked(kiocb) };
        let asked = iter.count();
        let mut kiocb = KiocbRef {
            kiocb,
            _kiocb: PhantomData,
        };
        to_ssize(T::write(data, &mut kiocb, iter), asked)
    }

    /// # Safety
    ///
    /// As for `llseek` of `struct file_operations`.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // SAFETY: The file is open during the call.
        let data = unsafe { Self::data(file) };
        T::llseek(data, offset, whence).unwrap_or_else(|error| error.to_errno().into())
    }

    /// # Safety
    ///
    /// As for `unlocked_ioctl` of `struct file_operations`.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: The file is open during the call.
        let data = unsafe { Self::data(file) };
        T::ioctl(data, cmd, arg).unwrap_or_else(|error| error.to_errno() as c_long)
    }
}
