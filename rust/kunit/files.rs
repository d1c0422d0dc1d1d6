// SPDX-License-Identifier: GPL-2.0

//! Files by their names and by their descriptors.

use crate::bindings;
use core::ptr::NonNull;
use kernel::error::{from_err_ptr, to_result, Error};
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::types::ARef;
use kernel_ext::fs::File;

/// Opens a file for reading and writing, by its name in the first process' root. Sleeps. Errors:
/// those of `open()`.
pub fn open(name: &CStr) -> Result<ARef<File>> {
    // SAFETY: The name is a string; the flag is a small number.
    let file = unsafe { bindings::filp_open(name.as_char_ptr(), bindings::O_RDWR as i32, 0) };
    let file = NonNull::new(from_err_ptr(file)?).ok_or(EINVAL)?;
    // SAFETY: An open file whose reference is ours. `File` is transparent.
    Ok(unsafe { ARef::from_raw(file.cast()) })
}

/// Writes to the file at an offset, as `pwrite()` does. Returns the bytes written. Errors: those of
/// the file.
pub fn write_to(file: &File, bytes: &[u8], offset: i64) -> Result<usize> {
    let mut offset = offset;
    // SAFETY: The file is open; the bytes are as many as is said.
    let ret = unsafe {
        bindings::kernel_write(
            file.as_ptr(),
            bytes.as_ptr().cast(),
            bytes.len(),
            &mut offset,
        )
    };
    // A negative answer is an error number, which an `i32` holds.
    usize::try_from(ret).map_err(|_| Error::from_errno(ret as i32))
}

/// Calls the `ioctl()` of the file. Errors: those of the file.
pub fn ioctl(file: &File, command: u32, argument: usize) -> Result<u32> {
    // SAFETY: The file is open. The file checks the argument.
    let ret = unsafe { bindings::vfs_ioctl(file.as_ptr(), command, argument) };
    u32::try_from(ret).map_err(|_| Error::from_errno(ret as i32))
}

/// Returns the file with this descriptor number in the table of this task, which all kernel threads
/// share.
pub fn file_of_fd(fd: u32) -> Option<ARef<File>> {
    // SAFETY: There is nothing to rely on.
    let file = NonNull::new(unsafe { bindings::fget(fd) })?;
    // SAFETY: An open file whose reference is ours.
    Some(unsafe { ARef::from_raw(file.cast()) })
}

/// Closes a descriptor of this task, as `close()` does. Error: EBADF.
pub fn close_fd(fd: u32) -> Result {
    // SAFETY: There is nothing to rely on: what is not open is refused.
    to_result(unsafe { bindings::close_fd(fd) })
}

/// Waits until all files are closed whose last reference a kernel thread has dropped. Sleeps.
pub fn flush_closed_files() {
    // SAFETY: There is nothing to rely on.
    unsafe { bindings::flush_delayed_fput() };
}

/// Returns the refcount of the file.
pub fn users_of_file(file: &File) -> i64 {
    // SAFETY: The file is open; reads a counter.
    unsafe { bindings::cfk_file_count(file.as_ptr()) as i64 }
}
