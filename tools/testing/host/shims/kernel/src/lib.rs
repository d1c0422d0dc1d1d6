// SPDX-License-Identifier: GPL-2.0

//! As much of the `kernel` crate of Linux 6.12 as the on-demand engine uses, for the host.
//!
//! The names and what they promise are the kernel's; what is behind them is the standard library.

#![deny(unsafe_op_in_unsafe_fn)]
#![deny(clippy::undocumented_unsafe_blocks)]

pub mod error;
pub mod init;
pub mod sync;
pub mod types;

/// Allocation flags.
pub mod alloc {
    pub use flags::Flags;

    /// The flags that there are.
    pub mod flags {
        /// What an allocation may do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Flags(u32);

        /// May sleep.
        pub const GFP_KERNEL: Flags = Flags(0);
        /// May sleep, and is accounted.
        pub const GFP_KERNEL_ACCOUNT: Flags = Flags(1);
        /// May not sleep.
        pub const GFP_ATOMIC: Flags = Flags(2);
        /// May not sleep, nor try hard.
        pub const GFP_NOWAIT: Flags = Flags(3);
    }
}

/// Pages.
pub mod page {
    /// Bytes of one.
    pub const PAGE_SIZE: usize = 4096;
}

/// Strings of C.
pub mod str {
    pub use core::ffi::CStr;

    /// What the kernel's `CStr` has besides.
    pub trait CStrExt {
        /// The string as C takes it.
        fn as_char_ptr(&self) -> *const core::ffi::c_char;
    }

    impl CStrExt for CStr {
        fn as_char_ptr(&self) -> *const core::ffi::c_char {
            self.as_ptr()
        }
    }
}

/// A `CStr` of a literal.
#[macro_export]
macro_rules! c_str {
    ($text:expr) => {{
        const TEXT: &$crate::str::CStr =
            match $crate::str::CStr::from_bytes_with_nul(concat!($text, "\0").as_bytes()) {
                Ok(text) => text,
                Err(_) => panic!("a NUL inside"),
            };
        TEXT
    }};
}

/// A lock class.
#[macro_export]
macro_rules! static_lock_class {
    () => {{
        static CLASS: $crate::sync::LockClassKey = $crate::sync::LockClassKey::new();
        &CLASS
    }};
}

/// Numbers of `ioctl` commands.
pub mod ioctl {
    /// `_IOW()`
    #[allow(non_snake_case)]
    pub const fn _IOW<T>(kind: u32, number: u32) -> u32 {
        (1 << 30) | ((core::mem::size_of::<T>() as u32) << 16) | (kind << 8) | number
    }
}

/// Work for a queue.
pub mod workqueue {
    /// What is done by a worker.
    pub trait WorkItem {
        /// How the work is held while it waits.
        type Pointer;

        /// Does it.
        fn run(this: Self::Pointer);
    }
}

/// Memory of user space.
pub mod uaccess {
    use crate::error::{code::EFAULT, Result};
    use std::cell::RefCell;
    use std::ops::Range;
    use std::sync::{Arc, Mutex};

    std::thread_local! {
        /// Places of slabs that say nothing of user space.
        static FORBIDDEN: RefCell<Vec<Range<usize>>> = const { RefCell::new(Vec::new()) };
    }

    /// The bytes lie in a slab out of which nothing may be copied to user space: with
    /// `CONFIG_HARDENED_USERCOPY` that is a BUG.
    pub fn forbid_copies(of: &[u8]) {
        let range = of.as_ptr_range();
        FORBIDDEN.with_borrow_mut(|all| all.push(range.start as usize..range.end as usize));
    }

    /// They are freed.
    pub fn forget(of: &[u8]) {
        let start = of.as_ptr() as usize;
        FORBIDDEN.with_borrow_mut(|all| all.retain(|range| range.start != start));
    }

    fn is_forbidden(data: &[u8]) -> bool {
        let range = data.as_ptr_range();
        let (start, end) = (range.start as usize, range.end as usize);
        FORBIDDEN.with_borrow(|all| all.iter().any(|no| start < no.end && no.start < end))
    }

    /// A buffer that a process reads into.
    pub struct UserSliceWriter {
        room: usize,
        written: Arc<Mutex<Vec<u8>>>,
        faults: bool,
    }

    impl UserSliceWriter {
        /// A buffer of `room` bytes, which cannot be written to if it `faults`.
        pub fn new(room: usize, faults: bool) -> (Self, Arc<Mutex<Vec<u8>>>) {
            let written = Arc::default();
            let this = Self {
                room,
                written: Arc::clone(&written),
                faults,
            };
            (this, written)
        }

        /// Bytes that there still is room for.
        pub fn len(&self) -> usize {
            self.room
        }

        /// Whether there is no room left.
        pub fn is_empty(&self) -> bool {
            self.room == 0
        }

        /// Copies a value, or EFAULT. May sleep.
        pub fn write<const N: usize>(&mut self, value: &[u32; N]) -> Result {
            let bytes: Vec<u8> = value.iter().flat_map(|word| word.to_ne_bytes()).collect();
            self.write_slice(&bytes)
        }

        /// Copies all of it, or EFAULT. May sleep.
        pub fn write_slice(&mut self, data: &[u8]) -> Result {
            cachefiles_bindings::sched::point();
            assert!(!is_forbidden(data), "BUG: copied out of a slab");
            if self.faults || data.len() > self.room {
                return Err(EFAULT);
            }
            self.room -= data.len();
            self.written
                .lock()
                .map_err(|_| EFAULT)?
                .extend_from_slice(data);
            Ok(())
        }
    }
}

/// A module.
pub struct ThisModule(());

impl ThisModule {
    /// The module that there is.
    pub const fn new() -> Self {
        Self(())
    }
}

impl Default for ThisModule {
    fn default() -> Self {
        Self::new()
    }
}

/// What everybody uses.
pub mod prelude {
    pub use crate::alloc::flags::*;
    pub use crate::alloc::Flags;
    pub use crate::error::code::*;
    pub use crate::error::{Error, Result};
    pub use crate::init::{InPlaceInit, PinInit};
    pub use crate::str::CStrExt;
    pub use crate::types::{KBox, KVec};
    pub use crate::{pin_init, try_pin_init};
    pub use core::pin::Pin;
    pub use macros::{pin_data, pinned_drop};
}
