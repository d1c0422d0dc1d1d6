// SPDX-License-Identifier: GPL-2.0

//! Character devices of the misc class.
//!
//! C header: `include/linux/miscdevice.h`
//!
//! The module cannot be unloaded while the device is open: the table of operations names it as its
//! owner.

use crate::errno::{check, to_ssize};
use crate::module::{check_owner, THIS_MODULE};
use crate::sync::WaitQueue;
use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use kernel::ffi::{c_char, c_int};
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::{Arc, ArcBorrow};
use kernel::types::Opaque;
use kernel::uaccess::{UserSlice, UserSliceReader, UserSliceWriter};
use kernel::ThisModule;

/// The operations of a device. All run in process context and may sleep. All but `release` may run
/// in several threads at a time on one open file.
pub trait MiscDevice: Sized + 'static {
    /// The data of an open file of the device.
    type Data: Send + Sync + 'static;

    /// Opens the device, and returns the data of the open file.
    fn open() -> Result<Arc<Self::Data>>;

    /// Releases an open file: its last descriptor is closed, and no call on it is under way.
    fn release(data: Arc<Self::Data>);

    /// Implements `read()`: writes to user space, and returns the number of bytes.
    fn read(data: ArcBorrow<'_, Self::Data>, out: UserSliceWriter) -> Result<usize>;

    /// Implements `write()`: reads from user space, and returns the number of bytes taken.
    fn write(data: ArcBorrow<'_, Self::Data>, input: UserSliceReader) -> Result<usize>;

    /// Returns the wait queue that is woken when the result of [`poll`](Self::poll) may have
    /// changed.
    ///
    /// The queue is part of `Data`, or kept alive by it: a poller may stay in it as long as the
    /// file is open.
    fn wait_queue(data: &Self::Data) -> &WaitQueue;

    /// Returns the events that are ready, as a mask of [`crate::sync::poll`]. The caller is in the
    /// queue already, so that it misses no event during or after this call.
    fn poll(data: ArcBorrow<'_, Self::Data>) -> u32;
}

/// A registered device. Dropping it deregisters the device.
///
/// # Invariants
///
/// `device` is a registered misc device whose operations are `Operations::<T>::TABLE`.
#[pin_data(PinnedDrop)]
pub struct MiscDeviceRegistration<T: MiscDevice> {
    #[pin]
    device: Opaque<bindings::miscdevice>,
    _type: PhantomData<T>,
}

// SAFETY: Nothing can be done with a registration but drop it, in any thread.
unsafe impl<T: MiscDevice> Send for MiscDeviceRegistration<T> {}
// SAFETY: A shared registration gives no access to anything.
unsafe impl<T: MiscDevice> Sync for MiscDeviceRegistration<T> {}

impl<T: MiscDevice> MiscDeviceRegistration<T> {
    /// Registers a device with a dynamic minor number. Sleeps.
    ///
    /// It can be opened before this returns. Errors: EINVAL, `module` is not the module that this
    /// code is in; EBUSY, no minor number is free; ENOMEM; EEXIST, the name is taken.
    pub fn register(name: &'static CStr, module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let register = move |slot: *mut Opaque<bindings::miscdevice>| -> Result {
            check_owner(module)?;
            let slot = Opaque::raw_get(slot);
            let device = bindings::miscdevice {
                minor: bindings::MISC_DYNAMIC_MINOR,
                name: name.as_char_ptr(),
                fops: &Operations::<T>::TABLE,
                ..Default::default()
            };
            // SAFETY: `slot` is valid for writes.
            unsafe { slot.write(device) };
            // SAFETY: The device is initialised, and stays where it is until it is dropped.
            check(unsafe { bindings::misc_register(slot) })
        };
        try_pin_init!(Self {
            // INVARIANT: Registered when this succeeds.
            // SAFETY: `register` either succeeds and has initialised the slot, or fails and leaves
            // nothing in it that would have to be dropped.
            device <- unsafe { kernel::init::pin_init_from_closure(register) },
            _type: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: MiscDevice> PinnedDrop for MiscDeviceRegistration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered, by the type invariant.
        unsafe { bindings::misc_deregister(self.device.get()) };
    }
}

/// The callbacks from C.
struct Operations<T>(PhantomData<T>);

impl<T: MiscDevice> Operations<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: THIS_MODULE,
        open: Some(Self::open),
        release: Some(Self::release),
        read: Some(Self::read),
        write: Some(Self::write),
        poll: Some(Self::poll),
        llseek: Some(bindings::noop_llseek),
        // SAFETY: All zeroes is a valid table: every operation is a nullable pointer.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// `file` is an open file of this table, and is not released before the end of `'a`.
    #[inline]
    unsafe fn data<'a>(file: *mut bindings::file) -> ArcBorrow<'a, T::Data> {
        // SAFETY: `open` put an `Arc` there, and `release` takes it.
        unsafe { ArcBorrow::from_raw((*file).private_data.cast::<T::Data>().cast_const()) }
    }

    /// # Safety
    ///
    /// As for `open` of `struct file_operations`.
    unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        match T::open() {
            Ok(data) => {
                // SAFETY: `file` is being opened, so that the field is ours.
                unsafe { (*file).private_data = Arc::into_raw(data).cast_mut().cast() };
                0
            }
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// As for `release` of `struct file_operations`: once, for what `open` succeeded on.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` put an `Arc` there, and nothing uses it after the release.
        let data = unsafe { (*file).private_data }
            .cast::<T::Data>()
            .cast_const();
        // SAFETY: It came out of an `Arc`, whose reference is ours now.
        T::release(unsafe { Arc::from_raw(data) });
        0
    }

    /// # Safety
    ///
    /// As for `read` of `struct file_operations`.
    unsafe extern "C" fn read(
        file: *mut bindings::file,
        buffer: *mut c_char,
        len: usize,
        _pos: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: The file is open during the call.
        let data = unsafe { Self::data(file) };
        let out = UserSlice::new(buffer as usize, len).writer();
        to_ssize(T::read(data, out), len)
    }

    /// # Safety
    ///
    /// As for `write` of `struct file_operations`.
    unsafe extern "C" fn write(
        file: *mut bindings::file,
        buffer: *const c_char,
        len: usize,
        _pos: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: The file is open during the call.
        let data = unsafe { Self::data(file) };
        let input = UserSlice::new(buffer as usize, len).reader();
        to_ssize(T::write(data, input), len)
    }

    /// # Safety
    ///
    /// As for `poll` of `struct file_operations`.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The file is open during the call.
        let data = unsafe { Self::data(file) };
        // SAFETY: The queue lives as long as the data does, since it is borrowed from the data for
        // any lifetime; and so until the release, when no poller is left.
        unsafe { bindings::cfh_poll_wait(file, T::wait_queue(&data).as_ptr(), table) };
        T::poll(data)
    }
}
