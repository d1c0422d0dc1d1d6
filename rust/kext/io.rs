// SPDX-License-Identifier: GPL-2.0

//! Direct I/O on cache files, asynchronous and not.
//!
//! C headers: [`include/linux/uio.h`](srctree/include/linux/uio.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h) (`struct kiocb`). Answers to
//! `fs/cachefiles/io.c`.
//!
//! # How long a request lives
//!
//! A request that is queued has two users, and the last one frees it: the completion, and the
//! submission, since file systems look at the `kiocb` after they have queued it (ext4 takes the
//! file out of it to touch its atime). The file is held for as long. One that is not queued is the
//! submission's alone.

use crate::{errno::error, fs::File};
use cachefiles_bindings as bindings;
use core::{
    cell::UnsafeCell,
    mem::{size_of, ManuallyDrop},
    ptr::NonNull,
    sync::atomic::{AtomicU8, Ordering},
};
use kernel::{
    error::{code::ENOMEM, Result},
    ffi,
    types::{ARef, Opaque},
};

/// The memory that an I/O reads from or writes to (`struct iov_iter`). Only ever behind `&mut`.
///
/// # Invariants
///
/// Is a valid `struct iov_iter`.
#[repr(transparent)]
pub struct IovIter(Opaque<bindings::iov_iter>);

impl IovIter {
    /// Takes an iterator from C.
    ///
    /// # Safety
    ///
    /// `ptr` is a valid iterator that nothing else uses during `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::iov_iter) -> &'a mut Self {
        // SAFETY: By the caller's promise; the type is transparent.
        unsafe { &mut *ptr.cast() }
    }

    /// The C iterator.
    #[inline]
    pub fn as_ptr(&mut self) -> *mut bindings::iov_iter {
        self.0.get()
    }

    /// Bytes left.
    #[inline]
    pub fn count(&self) -> usize {
        // A call would take as long again as the rest of some callers; and how bindgen names what is
        // inside a union depends on its version.
        //
        // SAFETY: A valid iterator (type invariant), of which this is the field `count`.
        unsafe {
            let iter = self.0.get().cast::<u8>();
            iter.add(bindings::IOV_ITER_COUNT).cast::<usize>().read()
        }
    }

    /// Clears the next bytes and moves behind them; at most as many as are left. Returns how many
    /// were cleared: memory of user space may not be there.
    #[inline]
    pub fn zero(&mut self, bytes: usize) -> usize {
        // SAFETY: A valid iterator (type invariant), ours alone while it is borrowed.
        unsafe { bindings::iov_iter_zero(bytes.min(self.count()), self.as_ptr()) }
    }

    /// Moves forward; at most to the end.
    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        // SAFETY: A valid iterator (type invariant), ours alone while it is borrowed.
        unsafe { bindings::iov_iter_advance(self.as_ptr(), bytes.min(self.count())) };
    }

    /// Takes in `bytes` more, behind the end.
    ///
    /// # Safety
    ///
    /// The memory goes on for that long.
    #[inline]
    pub unsafe fn extend(&mut self, bytes: usize) {
        let count = self.count().saturating_add(bytes);
        // SAFETY: A valid iterator (type invariant), which stays one by the caller's promise.
        unsafe { bindings::cfh_iov_iter_reexpand(self.as_ptr(), count) };
    }

    /// Leaves at most `bytes`.
    #[inline]
    pub fn truncate(&mut self, bytes: usize) {
        // SAFETY: A valid iterator (type invariant), ours alone while it is borrowed.
        unsafe { bindings::cfh_iov_iter_truncate(self.as_ptr(), bytes) };
    }
}

/// Who waits for an I/O.
pub trait IoCompletion: Send + 'static {
    /// Takes the result, exactly once: bytes transferred, or a negative error number. `EINTR` is
    /// what a signal leads to. `file` is the one that was submitted to.
    ///
    /// If `was_async`, the context may be a hard interrupt: nothing may sleep, neither here nor in
    /// what is dropped here. Otherwise it is that of the submission.
    fn complete(self, file: &File, result: isize, was_async: bool);
}

/// A request on its way.
///
/// `kiocb` is the first field, so that a pointer to it is one to the request.
#[repr(C)]
struct Request<T> {
    kiocb: UnsafeCell<bindings::kiocb>,
    /// Moved out by the completion.
    owner: ManuallyDrop<T>,
    file: ARef<File>,
    /// Of a queued request: 2 at first, the submission and the completion.
    users: AtomicU8,
}

/// The memory for a request of an owner of type `T`, to have before there is no way back.
///
/// # Invariants
///
/// `place` is memory for a `Request<T>` out of `__kmalloc_noprof()`, which is ours.
pub struct RequestSlot<T> {
    place: NonNull<Request<T>>,
}

impl<T: IoCompletion> RequestSlot<T> {
    /// Allocates it. May sleep. Error: `ENOMEM`.
    ///
    /// Not a `KBox`: the `kernel` crate allocates by `krealloc()`, which takes as long again.
    #[inline]
    pub fn new() -> Result<Self> {
        const {
            // What `kmalloc()` aligns to at least.
            assert!(core::mem::align_of::<Request<T>>() <= 8);
        }
        let size = size_of::<Request<T>>();
        // SAFETY: There is nothing to rely on.
        let place = unsafe { bindings::__kmalloc_noprof(size, bindings::GFP_KERNEL) };
        // INVARIANT: Allocated just now, with the size and alignment of a request.
        let place = NonNull::new(place.cast()).ok_or(ENOMEM)?;
        Ok(Self { place })
    }

    /// Starts a direct read of the file at `pos` (bytes) into `iter`.
    ///
    /// `owner` is told the result, exactly once, possibly before this returns. Returns what a netfs
    /// operation returns: 0 if it is done, `-EIOCBQUEUED` if it is on its way, or the negative error
    /// number that the owner was told as well.
    ///
    /// Process context; may sleep.
    #[inline]
    pub fn submit_read(self, file: &File, pos: i64, iter: &mut IovIter, owner: T) -> isize {
        self.submit::<false>(file, pos, iter, owner)
    }

    /// Starts a direct write to the file at `pos` (bytes) out of `iter`. As
    /// [`RequestSlot::submit_read`].
    ///
    /// When the owner is told, the file system may be frozen again.
    #[inline]
    pub fn submit_write(self, file: &File, pos: i64, iter: &mut IovIter, owner: T) -> isize {
        self.submit::<true>(file, pos, iter, owner)
    }

    #[inline]
    fn submit<const WRITE: bool>(
        self,
        file: &File,
        pos: i64,
        iter: &mut IovIter,
        owner: T,
    ) -> isize {
        let mut kiocb = new_kiocb::<WRITE>(file, pos);
        kiocb.ki_complete = Some(ki_complete::<T, WRITE>);
        let request = ManuallyDrop::new(self).place;
        // SAFETY: Memory for a request, which is ours (type invariant).
        unsafe {
            request.as_ptr().write(Request {
                kiocb: UnsafeCell::new(kiocb),
                owner: ManuallyDrop::new(owner),
                file: file.into(),
                users: AtomicU8::new(2),
            });
        }
        // SAFETY: The request is alive: we have our part in it.
        let kiocb = unsafe { request.as_ref().kiocb.get() };
        // SAFETY: The `kiocb` was set up for this above. It has a place of its own, until the
        // completion and we have given up our parts, and so long the request holds the file.
        let ret = unsafe { start::<WRITE>(kiocb, iter) };
        if ret == -(bindings::EIOCBQUEUED as isize) {
            // SAFETY: Our own part; the request is not used any more.
            unsafe { Request::put(request) };
        } else {
            // SAFETY: What is not queued has no completion, so this stands in for it.
            unsafe { Request::complete(request, ret, false) };
            // SAFETY: Completed, and nobody but us ever had a part in it.
            unsafe { Request::free(request) };
        }
        ret.min(0)
    }
}

impl<T> Drop for RequestSlot<T> {
    fn drop(&mut self) {
        // SAFETY: The type invariant: the memory is ours, and there is nothing in it.
        unsafe { bindings::kfree(self.place.as_ptr().cast()) };
    }
}

impl<T: IoCompletion> Request<T> {
    /// Tells the owner.
    ///
    /// # Safety
    ///
    /// `this` is a request that was not completed before, and the caller does it in the place of
    /// the completion.
    #[inline]
    unsafe fn complete(this: NonNull<Self>, result: isize, was_async: bool) {
        // SAFETY: The request is alive, as the completion has not given up its part. Nobody but the
        // completion, which there is one of, ever comes to the owner after the start.
        let (owner, file) = unsafe {
            let this = this.as_ref();
            (core::ptr::read(&this.owner), &*this.file)
        };
        ManuallyDrop::into_inner(owner).complete(file, result, was_async);
    }

    /// Gives up one of the two parts in a queued request.
    ///
    /// # Safety
    ///
    /// The caller has one, and does not use the request any more. The completion does this last.
    #[inline]
    unsafe fn put(this: NonNull<Self>) {
        // SAFETY: The request is alive until both parts are given up. Release and acquire, so that
        // what the other one did to it comes before it is freed.
        if unsafe { this.as_ref().users.fetch_sub(1, Ordering::AcqRel) } == 1 {
            // SAFETY: Nobody else has a part in it any more; the completion was one of the two.
            unsafe { Self::free(this) };
        }
    }

    /// # Safety
    ///
    /// The request is completed, and nobody uses it any more.
    #[inline]
    unsafe fn free(this: NonNull<Self>) {
        // SAFETY: It is the caller's alone. The owner was moved out, and is not dropped here.
        unsafe { core::ptr::drop_in_place(this.as_ptr()) };
        // SAFETY: It came out of `__kmalloc_noprof()`.
        unsafe { bindings::kfree(this.as_ptr().cast()) };
    }
}

/// `kiocb->ki_complete` of an asynchronous request.
///
/// # Safety
///
/// `kiocb` is that of a `Request<T>`, queued and not completed before; `WRITE` is what it does.
unsafe extern "C" fn ki_complete<T: IoCompletion, const WRITE: bool>(
    kiocb: *mut bindings::kiocb,
    ret: ffi::c_long,
) {
    if WRITE {
        // SAFETY: `vfs_iocb_iter_write()` leaves the end of the write to the completion of a
        // request that is queued.
        unsafe { bindings::cfh_kiocb_end_write(kiocb) };
    }
    // SAFETY: The `kiocb` is the first field of its request.
    let request = unsafe { NonNull::new_unchecked(kiocb.cast::<Request<T>>()) };
    // SAFETY: This is its completion.
    unsafe { Request::complete(request, ret, true) };
    // SAFETY: The completion's part, after its end.
    unsafe { Request::put(request) };
}

/// A `kiocb` for direct I/O at `pos`.
#[inline]
fn new_kiocb<const WRITE: bool>(file: &File, pos: i64) -> bindings::kiocb {
    let write = if WRITE { bindings::IOCB_WRITE } else { 0 };
    bindings::kiocb {
        ki_filp: file.as_ptr(),
        ki_pos: pos,
        // Both are low bits.
        ki_flags: (bindings::IOCB_DIRECT | write) as i32,
        ..Default::default()
    }
}

/// Hands the request to the file system. The file system of the cache must not be made to wait for
/// the one that is being cached, so no allocation calls into one.
///
/// # Safety
///
/// `kiocb` is set up by [`new_kiocb`], and stays where it is until it is completed, if it has a
/// completion, and until this returns in any case. Its file is open until then.
#[inline]
unsafe fn start<const WRITE: bool>(kiocb: *mut bindings::kiocb, iter: &mut IovIter) -> isize {
    let ret = if WRITE {
        // SAFETY: A `kiocb` for a file that is open (the caller's promise), a valid iterator.
        unsafe { bindings::cfh_iocb_write_nofs(kiocb, iter.as_ptr()) }
    } else {
        // SAFETY: As above.
        unsafe { bindings::cfh_iocb_read_nofs(kiocb, iter.as_ptr()) }
    };
    if ret >= 0 || ret == -(bindings::EIOCBQUEUED as isize) {
        ret
    } else {
        without_restart(ret)
    }
}

/// There is no restarting an I/O that others are part of: it was interrupted, and that is that.
#[cold]
fn without_restart(ret: isize) -> isize {
    const RESTARTS: [u32; 4] = [
        bindings::ERESTARTSYS,
        bindings::ERESTARTNOINTR,
        bindings::ERESTARTNOHAND,
        bindings::ERESTART_RESTARTBLOCK,
    ];
    let is_restart = RESTARTS.iter().any(|&errno| ret == -(errno as isize));
    if is_restart {
        -(bindings::EINTR as isize)
    } else {
        ret
    }
}

#[inline]
fn run_sync<const WRITE: bool>(file: &File, pos: i64, iter: &mut IovIter) -> Result<usize> {
    let mut kiocb = new_kiocb::<WRITE>(file, pos);
    // SAFETY: The `kiocb` was set up for this just now. Without a completion the I/O is over when
    // the call returns, and the `kiocb` stays in its place until then, as the file stays open.
    let ret = unsafe { start::<WRITE>(&mut kiocb, iter) };
    // A negative answer is an error number, which an `i32` holds.
    usize::try_from(ret).map_err(|_| error(ret as i32))
}

/// Reads directly from the file at `pos` (bytes) and waits for it. Returns the bytes read.
///
/// Process context; may sleep. Errors: `EINTR`, `EINVAL` for what direct I/O cannot do, `EIO`, and
/// others of the file system.
pub fn read_sync(file: &File, pos: i64, iter: &mut IovIter) -> Result<usize> {
    run_sync::<false>(file, pos, iter)
}

/// Writes directly to the file at `pos` (bytes) and waits for it. Returns the bytes written.
///
/// Process context; may sleep. Errors: `EINTR`, `EINVAL` for what direct I/O cannot do, `ENOSPC`,
/// `EFBIG`, `EIO`, and others of the file system.
#[inline]
pub fn write_sync(file: &File, pos: i64, iter: &mut IovIter) -> Result<usize> {
    run_sync::<true>(file, pos, iter)
}
