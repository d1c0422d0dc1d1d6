// SPDX-License-Identifier: GPL-2.0

//! Operations: reads and writes that netfs or EROFS asks for, each as one value.
//!
//! C headers: [`include/linux/netfs.h`](srctree/include/linux/netfs.h) (`struct netfs_cache_ops`,
//! `netfs_io_terminated_t`), [`include/linux/uio.h`](srctree/include/linux/uio.h)
//!
//! The caller of `read` and `write` lends three things: the resources of the operation, the memory,
//! and a function to call at the end. After that call all three may be freed. So they are one
//! value, which is consumed by ending it: by [`Operation::finish`] at once, by
//! [`Operation::submit`] later. No borrow from it outlives that.
//!
//! A read that waits for an event outside the file system needs only this value: all three stay
//! until the end is told, also after the call has returned. [`Operation::defer`] makes it a
//! [`PendingRead`], which has no lifetime, and continues where [`PendingRead::resume`] is called.

use crate::{Backend, Resources};
use cachefiles_bindings as bindings;
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{
    error::{code::EIO, Error},
    ffi::{c_int, c_void},
    types::ARef,
};
use kernel_ext::{
    fs::File,
    io::{Dest, Direction, IoCompletion, IovIter, Lender, RequestSlot, Source, Transfer},
};

/// A read from an object.
pub type ReadOperation<'op, B> = Operation<'op, B, Dest>;

/// A write to an object.
pub type WriteOperation<'op, B> = Operation<'op, B, Source>;

/// A read or a write of a backend, up to its end.
///
/// Dropping it tells the caller `EIO`. Each operation has a lifetime of its own, so that neither
/// its parts nor its [`Begun`] can be swapped with those of another one.
pub struct Operation<'op, B: Backend, D: Direction> {
    resources: Resources<'op, B>,
    transfer: Transfer<'op, D, Termination>,
    answers: Answers,
}

/// The way in which the caller is told of an end that comes before the call returns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// By its function, and by the returned value.
    Twice,
    /// By its function only.
    Once,
}

/// The value that a call returns to C. It is made by an operation that has ended, or is under way.
#[must_use]
pub struct Begun<'op> {
    ret: isize,
    _operation: PhantomData<fn(&'op ()) -> &'op ()>,
}

impl Begun<'_> {
    /// Returns 0, or a negative error number.
    #[inline]
    pub(crate) fn into_raw(self) -> c_int {
        self.ret as c_int
    }
}

impl<'op, B: Backend, D: Direction> Operation<'op, B, D> {
    /// # Safety
    ///
    /// - `resources` and the memory of `iter` stay until `done` is told or dropped.
    /// - `'op` belongs to this operation alone.
    #[inline]
    pub(crate) unsafe fn new(
        resources: Resources<'op, B>,
        iter: IovIter<'op, D>,
        done: Termination,
    ) -> Self {
        Self {
            resources,
            // SAFETY: By the caller's promise.
            transfer: unsafe { Transfer::new(iter, done) },
            answers: Answers::Twice,
        }
    }

    /// Tells errors by the function only, as the caller would take a returned one for a second end.
    #[inline]
    pub(crate) fn answering_once(mut self) -> Self {
        self.answers = Answers::Once;
        self
    }

    /// Returns the resources, and an iterator over the memory that is left to be transferred.
    #[inline]
    pub fn parts(&mut self) -> (Resources<'_, B>, &mut IovIter<'op, D>) {
        (self.resources.reborrow(), self.transfer.iter())
    }

    /// Ends the operation with the bytes transferred, or a negative error number.
    #[inline]
    pub fn finish(self, result: isize) -> Begun<'op> {
        let answers = self.answers;
        self.transfer.end(result);
        answers.to(result.min(0))
    }

    /// Ends the operation with an error.
    #[inline]
    pub fn fail(self, error: Error) -> Begun<'op> {
        self.finish(error.to_errno() as isize)
    }

    /// Submits the operation as direct I/O on `file` at `pos` (bytes) with the memory that is left:
    /// see [`RequestSlot::submit`]. Waits for the end if the caller has no function to be told by.
    ///
    /// Process context; may sleep.
    #[inline]
    pub fn submit<T: IoCompletion>(
        self,
        slot: RequestSlot<T, Termination>,
        file: ARef<File>,
        pos: i64,
        owner: T,
    ) -> Begun<'op> {
        let answers = self.answers;
        let ret = if self.transfer.lender().is_wanted() {
            slot.submit(file, pos, self.transfer, owner)
        } else {
            self.transfer.run(&file, pos, owner)
        };
        answers.to(ret)
    }
}

impl<'op, B: Backend> ReadOperation<'op, B> {
    /// Defers the read: the call returns before it is begun. Gives the operation back if the caller
    /// has no function to be told by.
    #[inline]
    pub fn defer(self) -> Result<(PendingRead<B>, Begun<'op>), Self> {
        if !self.transfer.lender().is_wanted() {
            return Err(self);
        }
        let begun = self.answers.to(-(bindings::EIOCBQUEUED as isize));
        let resources = self.resources.as_ptr();
        let (memory, done) = self.transfer.into_raw();
        // INVARIANT: An operation's resources and memory stay until its end is told, whenever that
        // is (promise of `new`). Nobody else has this one's `done`, and it is wanted.
        let pending = PendingRead {
            resources,
            memory,
            done,
            _backend: PhantomData,
        };
        Ok((pending, begun))
    }
}

/// A deferred read, which is not begun, and whose call has returned or is about to.
///
/// Dropping it tells the caller `EIO`.
///
/// # Invariants
///
/// Until `done` is told or dropped, `resources` are those of an operation of `B` that has begun,
/// and `memory` is a valid iterator over memory to be read to, which nobody else uses. `done` has a
/// function.
pub struct PendingRead<B: Backend> {
    resources: NonNull<bindings::netfs_cache_resources>,
    memory: bindings::iov_iter,
    done: Termination,
    _backend: PhantomData<fn() -> B>,
}

// SAFETY: Neither the resources nor the memory are of the task that asked for the read: the pages
// are the kernel's, and what is to be told is told in any context.
unsafe impl<B: Backend> Send for PendingRead<B> {}

impl<B: Backend> PendingRead<B> {
    /// Returns the resources of the operation.
    #[inline]
    pub fn resources(&mut self) -> Resources<'_, B> {
        // SAFETY: They stay until the end is told (type invariant), which it is not while this is
        // borrowed.
        unsafe { Resources::from_raw(self.resources.as_ptr()) }
    }

    /// Resumes the read: `f` gets the operation as the call had it. Its return value is ignored, as
    /// the call has returned.
    ///
    /// Process context; `f` may sleep.
    #[inline]
    pub fn resume(self, f: impl for<'op> FnOnce(ReadOperation<'op, B>) -> Begun<'op>) {
        // SAFETY: The operation is not told of yet (type invariant).
        let resources = unsafe { Resources::from_raw(self.resources.as_ptr()) };
        // SAFETY: Valid, and over memory that nobody else uses until the end is told (type
        // invariant).
        let memory = unsafe { IovIter::copy_of(&self.memory) };
        // SAFETY: Both stay until then (type invariant). `f` does for every lifetime, so that it
        // can have no other operation or iterator with that of this one.
        let operation = unsafe { Operation::new(resources, memory, self.done) };
        let _begun = f(operation);
    }
}

impl Answers {
    #[inline]
    fn to<'op>(self, ret: isize) -> Begun<'op> {
        Begun {
            ret: match self {
                Self::Twice => ret,
                Self::Once => 0,
            },
            _operation: PhantomData,
        }
    }
}

/// The function of the caller that is called exactly once, at the end of a read or write.
///
/// Dropping it tells the caller `EIO`, so that it does not wait for ever.
pub struct Termination {
    /// `None` once it was called, and if the caller gave none.
    func: Option<unsafe extern "C" fn(*mut c_void, isize, bool)>,
    private: *mut c_void,
}

// SAFETY: netfs takes the result in any context, so also in any task.
unsafe impl Send for Termination {}

impl Termination {
    /// # Safety
    ///
    /// `func`, if there is one, may be called with `private` exactly once, in any context.
    #[inline]
    pub(crate) unsafe fn new(func: bindings::netfs_io_terminated_t, private: *mut c_void) -> Self {
        Self { func, private }
    }

    /// Returns whether the caller gave a function. If not, the operation has to be over when the
    /// call returns.
    #[inline]
    fn is_wanted(&self) -> bool {
        self.func.is_some()
    }

    #[inline]
    fn call(&mut self, result: isize, was_async: bool) {
        if let Some(func) = self.func.take() {
            // SAFETY: It may be called once, which is now, as it was taken out (promise of `new`).
            unsafe { func(self.private, result, was_async) };
        }
    }
}

impl Lender for Termination {
    #[inline]
    fn tell(mut self, result: isize, was_async: bool) {
        self.call(result, was_async);
    }
}

impl Drop for Termination {
    #[inline]
    fn drop(&mut self) {
        // Where this happens is not known: the careful answer is that it is not the caller's
        // context.
        self.call(EIO.to_errno() as isize, true);
    }
}
