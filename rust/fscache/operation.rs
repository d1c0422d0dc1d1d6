// SPDX-License-Identifier: GPL-2.0

//! Operations: a read or a write that netfs or EROFS asks for, as one value.
//!
//! C headers: [`include/linux/netfs.h`](srctree/include/linux/netfs.h) (`struct netfs_cache_ops`,
//! `netfs_io_terminated_t`), [`include/linux/uio.h`](srctree/include/linux/uio.h)
//!
//! The caller of `read` and `write` lends three things: what the operation has got hold of, the
//! memory, and a function to be told of the end by. With that call all three may be gone. So they
//! are one value, which ends by what takes it: [`Operation::finish`] at once, [`Operation::submit`]
//! later. What is borrowed from it does not outlive that.
//!
//! A read that is to wait for something else than the file system needs no more than this value:
//! all three stay until the end is told, also when the call has returned. [`Operation::defer`]
//! makes it a [`PendingRead`], which has no lifetime, and goes on wherever [`PendingRead::resume`]
//! is called.

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
/// Dropping it tells the caller `EIO`. Each has a lifetime of its own, so that no part of one can
/// take the place of another's, nor what one [`Begun`] says that of another.
pub struct Operation<'op, B: Backend, D: Direction> {
    resources: Resources<'op, B>,
    transfer: Transfer<'op, D, Termination>,
    answers: Answers,
}

/// How the caller learns of an end that comes before the call returns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// By its function, and by what is returned.
    Twice,
    /// By its function only.
    Once,
}

/// What a call returns to C. An operation that has ended, or is on its way, leaves it behind.
#[must_use]
pub struct Begun<'op> {
    ret: isize,
    _operation: PhantomData<fn(&'op ()) -> &'op ()>,
}

impl Begun<'_> {
    /// 0, or a negative error number.
    #[inline]
    pub(crate) fn into_raw(self) -> c_int {
        self.ret as c_int
    }
}

impl<'op, B: Backend, D: Direction> Operation<'op, B, D> {
    /// # Safety
    ///
    /// - `resources` stay until `done` is told or dropped, and so does what `iter` is over.
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

    /// The caller takes an error that is returned for an end of its own.
    #[inline]
    pub(crate) fn answering_once(mut self) -> Self {
        self.answers = Answers::Once;
        self
    }

    /// What it has got hold of, and the memory: that which is left of it, which is what it is to
    /// transfer.
    #[inline]
    pub fn parts(&mut self) -> (Resources<'_, B>, &mut IovIter<'op, D>) {
        (self.resources.reborrow(), self.transfer.iter())
    }

    /// Ends it: bytes transferred, or a negative error number.
    #[inline]
    pub fn finish(self, result: isize) -> Begun<'op> {
        let answers = self.answers;
        self.transfer.end(result);
        answers.to(result.min(0))
    }

    /// Ends it with an error.
    #[inline]
    pub fn fail(self, error: Error) -> Begun<'op> {
        self.finish(error.to_errno() as isize)
    }

    /// Does it, by direct I/O on `file` at `pos` (bytes) with the memory that is left: see
    /// [`RequestSlot::submit`]. Waits for the end where nobody would be told.
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
    /// Lets the call return before the read is begun. Gives the operation back where nobody would
    /// be told of the end.
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

/// A read whose call has returned, or is about to, and that has not been begun.
///
/// Dropping it tells the caller `EIO`.
///
/// # Invariants
///
/// Until `done` is told or dropped, `resources` are those of an operation of `B` that has begun,
/// and `memory` is a valid iterator over memory to be read to, which nobody else uses. `done` is
/// wanted.
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
    /// What the operation has got hold of.
    #[inline]
    pub fn resources(&mut self) -> Resources<'_, B> {
        // SAFETY: They stay until the end is told (type invariant), which it is not while this is
        // borrowed.
        unsafe { Resources::from_raw(self.resources.as_ptr()) }
    }

    /// Goes on with it: `f` has the operation as the call had it. What it would return to the
    /// caller is of no interest any more.
    ///
    /// Process context; what `f` does may sleep.
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

/// Who waits for a read or write: a function of the caller's, to be called exactly once.
///
/// Dropping it tells the caller `EIO`, so that it does not wait for ever.
pub struct Termination {
    /// `None` once it was called, and if the caller does not want to be told.
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

    /// Whether the caller wants to be told. If not, the operation has to be over when it returns.
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
