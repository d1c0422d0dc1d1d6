// SPDX-License-Identifier: GPL-2.0

//! Errors by number.

use core::convert::Infallible;
use core::num::NonZeroI32;

/// A negative error number.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Error(NonZeroI32);

impl Error {
    /// Of a negative error number; anything else is EINVAL.
    pub fn from_errno(errno: i32) -> Self {
        match NonZeroI32::new(errno) {
            Some(value) if (-4095..0).contains(&errno) => Self(value),
            _ => code::EINVAL,
        }
    }

    /// The negative number.
    pub fn to_errno(self) -> i32 {
        self.0.get()
    }
}

impl core::fmt::Debug for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "errno {}", -self.0.get())
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What can fail with an errno.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// A C function's result: negative is an error.
pub fn to_result(ret: i32) -> Result {
    if ret < 0 {
        Err(Error::from_errno(ret))
    } else {
        Ok(())
    }
}

/// The numbers, of `include/uapi/asm-generic/errno-base.h`.
pub mod code {
    use super::Error;
    use core::num::NonZeroI32;

    macro_rules! codes {
        ($($name:ident = $value:literal,)*) => {$(
            #[doc = stringify!($name)]
            pub const $name: Error = Error(match NonZeroI32::new(-$value) {
                Some(value) => value,
                None => panic!("zero is no errno"),
            });
        )*};
    }

    codes! {
        EPERM = 1, ENOENT = 2, EINTR = 4, EIO = 5, ENXIO = 6, EAGAIN = 11, ENOMEM = 12,
        EFAULT = 14, EBUSY = 16, EEXIST = 17, EINVAL = 22, EMFILE = 24, EFBIG = 27, ERANGE = 34,
        EIOCBQUEUED = 529,
    }
}
