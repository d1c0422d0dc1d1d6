// SPDX-License-Identifier: GPL-2.0

//! Asynchronous direct I/O.
//!
//! # How long a request lives
//!
//! A request that is queued has two users, and the last one frees it: the completion, and the
//! submission, since file systems look at the `kiocb` and the iterator after they have queued it
//! (ext4 takes the file out of it to touch its atime, btrfs puts a flag of the iterator back). So
//! both lie in the request, and the file is held for as long. One that is not queued is the
//! submission's alone.
//!
//! # How long its memory lives
//!
//! The memory of an I/O belongs to its caller, who is told of the end, and may then free or reuse
//! it. So the memory and the [`Lender`] to be told are one value, a [`Transfer`], which the
//! submission consumes: nothing but the request can tell the end, and does so last.

use super::{new_kiocb, start, Direction, IovIter};
use crate::fs::File;
use cachefiles_bindings as bindings;
use core::{
    cell::UnsafeCell,
    mem::{ManuallyDrop, MaybeUninit},
    ptr::NonNull,
    sync::atomic::{AtomicU8, Ordering},
};
use kernel::{
    alloc::{flags::GFP_KERNEL, KBox},
    error::Result,
    ffi,
    types::ARef,
};

/// The lender of the memory of a transfer, who is told when it is over.
pub trait Lender: Send + 'static {
    /// Tells the result: bytes transferred, or a negative error number. The memory may be freed
    /// after this.
    ///
    /// If `was_async`, the context may be a hard interrupt.
    fn tell(self, result: isize, was_async: bool);
}

/// The memory of an I/O, together with the lender who is told when it is over.
///
/// # Invariants
///
/// - The memory that `iter` is over stays until `lender` is told or dropped, beyond `'a`.
/// - No other iterator has this `'a`.
pub struct Transfer<'a, D: Direction, L: Lender> {
    iter: IovIter<'a, D>,
    lender: L,
}

impl<'a, D: Direction, L: Lender> Transfer<'a, D, L> {
    /// # Safety
    ///
    /// The memory that `iter` is over stays until `lender` is told or dropped. No other iterator
    /// has this `'a`.
    #[inline]
    pub unsafe fn new(iter: IovIter<'a, D>, lender: L) -> Self {
        // INVARIANT: By the caller's promise.
        Self { iter, lender }
    }

    /// Returns the iterator over the memory.
    #[inline]
    pub fn iter(&mut self) -> &mut IovIter<'a, D> {
        &mut self.iter
    }

    /// Returns the lender.
    #[inline]
    pub fn lender(&self) -> &L {
        &self.lender
    }

    /// Splits the transfer into the iterator, as C has it, and the lender. [`Transfer::new`] puts
    /// them together again.
    #[inline]
    pub fn into_raw(self) -> (bindings::iov_iter, L) {
        (self.iter.into_raw(), self.lender)
    }

    /// Ends the transfer in the context of the caller, and tells the lender `result`.
    #[inline]
    pub fn end(self, result: isize) {
        self.lender.tell(result, false);
    }

    /// Transfers to or from the file at `pos` (bytes), and waits. `owner` and lender are told as by
    /// [`RequestSlot::submit`]. Returns 0 or the negative error number.
    pub fn run<T: IoCompletion>(mut self, file: &File, pos: i64, owner: T) -> isize {
        let result = super::run_sync(file, pos, &mut self.iter);
        let outcome = owner.complete(file, result, false);
        self.end(outcome);
        outcome.min(0)
    }
}

/// The completion of an I/O.
pub trait IoCompletion: Send + 'static {
    /// Takes the result, exactly once: bytes transferred, or a negative error number, `EINTR` after
    /// a signal. `file` is the file of the submission. Returns the result that the [`Lender`] is
    /// told after this, in the same form.
    ///
    /// If `was_async`, the context may be a hard interrupt, in which neither this nor a destructor
    /// here may sleep. Otherwise it is the context of the submission.
    fn complete(self, file: &File, result: isize, was_async: bool) -> isize;
}

/// A request under way.
///
/// `kiocb` is the first field, so that a pointer to it is one to the request.
#[repr(C)]
struct Request<T, L> {
    kiocb: UnsafeCell<bindings::kiocb>,
    iter: UnsafeCell<bindings::iov_iter>,
    /// Moved out by the completion, as is the lender.
    owner: ManuallyDrop<T>,
    lender: ManuallyDrop<L>,
    file: ARef<File>,
    /// The users of a queued request, 2 at first: the submission and the completion.
    users: AtomicU8,
}

/// Preallocated memory for a request of an owner of type `T`.
pub struct RequestSlot<T, L> {
    place: KBox<MaybeUninit<Request<T, L>>>,
}

// SAFETY: Memory with nothing in it yet, which any task may use, and free.
unsafe impl<T, L> Send for RequestSlot<T, L> {}

impl<T: IoCompletion, L: Lender> RequestSlot<T, L> {
    /// Allocates the memory. May sleep. Error: `ENOMEM`.
    #[inline]
    pub fn new() -> Result<Self> {
        let place = KBox::new_uninit(GFP_KERNEL)?;
        Ok(Self { place })
    }

    /// Starts direct I/O on the file at `pos` (bytes): a read or a write, by the direction of the
    /// transfer.
    ///
    /// `owner` is told the result, exactly once, possibly before this returns, and after it the
    /// lender. Returns as a netfs operation does: 0 if it is done, `-EIOCBQUEUED` if it is under
    /// way, or the negative error number that the lender was told.
    ///
    /// Process context; may sleep. The freeze protection of a write ends before its result is told.
    #[inline]
    pub fn submit<D: Direction>(
        self,
        file: ARef<File>,
        pos: i64,
        transfer: Transfer<'_, D, L>,
        owner: T,
    ) -> isize {
        let mut kiocb = new_kiocb::<D>(&file, pos);
        kiocb.ki_complete = Some(ki_complete::<T, L, D>);
        let request = self.place.write(Request {
            kiocb: UnsafeCell::new(kiocb),
            iter: UnsafeCell::new(transfer.iter.into_raw()),
            owner: ManuallyDrop::new(owner),
            lender: ManuallyDrop::new(transfer.lender),
            file,
            users: AtomicU8::new(2),
        });
        let request = NonNull::from(KBox::leak(request));
        // SAFETY: The request is alive: we have our part in it.
        let (kiocb, iter) = unsafe {
            let request = request.as_ref();
            (request.kiocb.get(), request.iter.get())
        };
        // SAFETY: The `kiocb` was set up for this file and direction. Both have a place of their
        // own, until the completion and we have given up our parts, and so long the request holds
        // the file. The iterator is valid, and what it is over stays until the lender is told
        // (invariant of a transfer), which the completion does.
        let ret = unsafe { start::<D>(kiocb, iter) };
        if ret == -(bindings::EIOCBQUEUED as isize) {
            // SAFETY: Our own part; the request is not used any more.
            unsafe { Request::put(request) };
            return ret;
        }
        // SAFETY: What is not queued has no completion, so this stands in for it.
        let outcome = unsafe { Request::complete(request, ret, false) };
        // SAFETY: Completed, and nobody but us ever had a part in it.
        unsafe { Request::free(request) };
        outcome.min(0)
    }
}

impl<T: IoCompletion, L: Lender> Request<T, L> {
    /// Tells the owner, and then the lender. Returns the result that the lender was told.
    ///
    /// # Safety
    ///
    /// `this` is a request that was not completed before, and the caller does it in the place of
    /// the completion.
    #[inline]
    unsafe fn complete(this: NonNull<Self>, result: isize, was_async: bool) -> isize {
        // SAFETY: The request is alive, as the completion has not given up its part. Nobody but the
        // completion, which there is one of, ever comes to these two after the start.
        let (owner, lender, file) = unsafe {
            let this = this.as_ref();
            (
                core::ptr::read(&this.owner),
                core::ptr::read(&this.lender),
                &*this.file,
            )
        };
        let outcome = ManuallyDrop::into_inner(owner).complete(file, result, was_async);
        ManuallyDrop::into_inner(lender).tell(outcome, was_async);
        outcome
    }

    /// Drops one of the two users of a queued request.
    ///
    /// # Safety
    ///
    /// The caller is one of the users, and does not use the request any more. The completion does
    /// this last.
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
        // SAFETY: `submit` leaked it out of such a box, and it is the caller's alone. What was
        // moved out of it is not dropped here.
        drop(unsafe { KBox::from_raw(this.as_ptr()) });
    }
}

/// Completes an asynchronous request (`kiocb->ki_complete`).
///
/// # Safety
///
/// `kiocb` is that of a `Request<T, L>`, queued and not completed before; `D` is which way it goes.
unsafe extern "C" fn ki_complete<T: IoCompletion, L: Lender, D: Direction>(
    kiocb: *mut bindings::kiocb,
    ret: ffi::c_long,
) {
    if D::WRITES {
        // SAFETY: `vfs_iocb_iter_write()` leaves the end of the write to the completion of a
        // request that is queued.
        unsafe { bindings::cfh_kiocb_end_write(kiocb) };
    }
    // SAFETY: The `kiocb` is the first field of its request.
    let request = unsafe { NonNull::new_unchecked(kiocb.cast::<Request<T, L>>()) };
    // SAFETY: This is its completion.
    unsafe { Request::complete(request, ret, true) };
    // SAFETY: The completion's part, after its end.
    unsafe { Request::put(request) };
}
