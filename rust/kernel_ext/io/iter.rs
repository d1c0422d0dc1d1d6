// SPDX-License-Identifier: GPL-2.0

//! Iterators over the memory of an I/O.
//!
//! C header: [`include/linux/uio.h`](srctree/include/linux/uio.h)

use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use kernel::types::Opaque;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Source {}
    impl Sealed for super::Dest {}
}

/// Which way the data goes.
pub trait Direction: sealed::Sealed + Send + 'static {
    /// Out of memory, into the file.
    const WRITES: bool;
}

/// The memory is read: a write to a file takes its data from there (`ITER_SOURCE`).
pub struct Source;

/// The memory is written to: a read of a file puts its data there (`ITER_DEST`).
pub struct Dest;

impl Direction for Source {
    const WRITES: bool = true;
}

impl Direction for Dest {
    const WRITES: bool = false;
}

/// Memory that data is taken from.
pub type IovIterSource<'a> = IovIter<'a, Source>;

/// Memory that data is put into.
pub type IovIterDest<'a> = IovIter<'a, Dest>;

/// The memory of an I/O (`struct iov_iter`).
///
/// No two of them can change places: `'a` is invariant, and belongs to one only where that matters.
///
/// # Invariants
///
/// Is a valid `struct iov_iter` in direction `D`. The memory is there for `'a`, and so is what says
/// where it is; in direction [`Dest`] nobody else uses it.
#[repr(transparent)]
pub struct IovIter<'a, D: Direction> {
    iter: Opaque<bindings::iov_iter>,
    _memory: PhantomData<fn(&'a ()) -> &'a ()>,
    _direction: PhantomData<D>,
}

// SAFETY: The memory belongs to no task: it is kernel memory, or the owner of that in user space is
// in the call that brought the iterator, and does not hand it on.
unsafe impl<D: Direction> Send for IovIter<'_, D> {}

impl<'a, D: Direction> IovIter<'a, D> {
    /// Takes an iterator from C.
    ///
    /// # Safety
    ///
    /// `ptr` is a valid iterator in direction `D` that nothing else uses during `'i`. The memory is
    /// there for `'a`, and in direction [`Dest`] used by nobody else.
    #[inline]
    pub unsafe fn from_raw<'i>(ptr: *mut bindings::iov_iter) -> &'i mut Self {
        // SAFETY: By the caller's promise; the type is transparent.
        unsafe { &mut *ptr.cast() }
    }

    /// Copies an iterator from C. That one stays where it is.
    ///
    /// # Safety
    ///
    /// `ptr` is a valid iterator in direction `D`. The memory is there for `'a`, and in direction
    /// [`Dest`] used by nobody else.
    #[inline]
    pub unsafe fn copy_of(ptr: *const bindings::iov_iter) -> Self {
        // INVARIANT: By the caller's promise. An iterator has no pointer into itself, so that one
        // in another place is as good.
        Self {
            // SAFETY: Valid, by the caller's promise; nothing is moved out that has an owner.
            iter: Opaque::new(unsafe { ptr.read() }),
            _memory: PhantomData,
            _direction: PhantomData,
        }
    }

    /// Whether it is a list of pages (`ITER_BVEC`).
    #[inline]
    pub fn is_bvec(&self) -> bool {
        // SAFETY: A valid iterator (type invariant), which is only looked at.
        unsafe { bindings::cfh_iov_iter_is_bvec(self.iter.get()) }
    }

    /// The C iterator.
    #[inline]
    pub fn as_ptr(&mut self) -> *mut bindings::iov_iter {
        self.iter.get()
    }

    /// The C iterator itself, for an I/O that goes on after `'a`.
    #[inline]
    pub(super) fn into_raw(self) -> bindings::iov_iter {
        // SAFETY: A valid iterator (type invariant), which nobody else uses as we own it.
        unsafe { self.iter.get().read() }
    }

    /// Bytes left.
    #[inline]
    pub fn count(&self) -> usize {
        // SAFETY: A valid iterator (type invariant), which is only looked at.
        unsafe { bindings::cfh_iov_iter_count(self.iter.get()) }
    }

    /// Moves forward; at most to the end.
    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        // SAFETY: A valid iterator (type invariant), ours alone while it is borrowed.
        unsafe { bindings::iov_iter_advance(self.as_ptr(), bytes.min(self.count())) };
    }

    /// Leaves at most `bytes`.
    #[inline]
    pub fn truncate(&mut self, bytes: usize) {
        // SAFETY: A valid iterator (type invariant), ours alone while it is borrowed.
        unsafe { bindings::cfh_iov_iter_truncate(self.as_ptr(), bytes) };
    }
}

impl IovIterSource<'_> {
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
}

impl IovIterDest<'_> {
    /// Clears the next bytes and moves behind them; at most as many as are left. Returns how many
    /// were cleared: memory of user space may not be there.
    #[inline]
    pub fn zero(&mut self, bytes: usize) -> usize {
        // SAFETY: A valid iterator (type invariant) over memory to be written to, ours alone while
        // it is borrowed.
        unsafe { bindings::iov_iter_zero(bytes.min(self.count()), self.as_ptr()) }
    }
}
