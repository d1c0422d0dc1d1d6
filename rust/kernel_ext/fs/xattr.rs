// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.
//!
//! C header: [`include/linux/xattr.h`](srctree/include/linux/xattr.h).

use super::{nop_idmap, Dentry, WantWrite};
use cachefiles_bindings as bindings;
use kernel::{
    error::{code::ENOENT, to_result, Error, Result},
    str::CStr,
};

impl Dentry {
    /// Checks that the dentry is positive, which the C functions do not. Errors: `ENOENT`.
    #[inline]
    fn check_positive(&self) -> Result {
        self.inode().map(|_| ()).ok_or(ENOENT)
    }

    /// Reads the attribute `name` into `buf`. Returns its length in bytes; with an empty `buf`
    /// nothing is read, and the length needed is returned.
    ///
    /// Errors: `ERANGE` if it is longer than `buf`; `ENODATA` if there is none; `ENOENT` if this is
    /// negative; `EOPNOTSUPP`, `EACCES`, `ENOMEM`, `EIO`.
    pub fn get_xattr(&self, name: &CStr, buf: &mut [u8]) -> Result<usize> {
        self.check_positive()?;
        // File systems take the null pointer, not the length, for the question how long it is.
        let to = if buf.is_empty() {
            core::ptr::null_mut()
        } else {
            buf.as_mut_ptr().cast()
        };
        // SAFETY: The dentry is alive and positive; `name` is NUL-terminated; `to` has room for as
        // many bytes as is said, or is null.
        let ret = unsafe {
            bindings::vfs_getxattr(
                nop_idmap(),
                self.as_ptr(),
                name.as_char_ptr(),
                to,
                buf.len(),
            )
        };
        // A negative answer is an error number, which an `i32` holds.
        usize::try_from(ret).map_err(|_| Error::from_errno(ret as i32))
    }

    /// Sets the attribute `name`. Locks the inode.
    ///
    /// Errors: `EXDEV` if `write` is of another file system; `ENOSPC`, `EDQUOT`, `E2BIG`, `ENOENT`
    /// if this is negative, `EOPNOTSUPP`, `EACCES`, `EPERM`, `ENOMEM`, `EIO`.
    pub fn set_xattr(&self, write: &WantWrite<'_>, name: &CStr, value: &[u8]) -> Result {
        write.check(self)?;
        self.check_positive()?;
        // SAFETY: The dentry is alive and positive; `name` is NUL-terminated; `value` has as many
        // bytes as is said.
        to_result(unsafe {
            bindings::vfs_setxattr(
                nop_idmap(),
                self.as_ptr(),
                name.as_char_ptr(),
                value.as_ptr().cast(),
                value.len(),
                0,
            )
        })
    }

    /// Removes the attribute `name`. Locks the inode.
    ///
    /// Errors: `EXDEV` if `write` is of another file system; `ENODATA` if there is none, `ENOENT`
    /// if this is negative; `EOPNOTSUPP`, `EACCES`, `EPERM`, `ENOMEM`, `EIO`.
    pub fn remove_xattr(&self, write: &WantWrite<'_>, name: &CStr) -> Result {
        write.check(self)?;
        self.check_positive()?;
        // SAFETY: The dentry is alive and positive; `name` is NUL-terminated.
        to_result(unsafe {
            bindings::vfs_removexattr(nop_idmap(), self.as_ptr(), name.as_char_ptr())
        })
    }
}
