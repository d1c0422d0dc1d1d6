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

/// The direction of the data.
pub trait Direction: sealed::Sealed + Send + 'static {
    /// True if the data goes from memory to the file.
    const WRITES: bool;
}

/// Marks memory as the source of data: it is read by a write to a file (`ITER_SOURCE`).
pub struct Source;

/// Marks memory as the destination of data: it is written to by a read of a file (`ITER_DEST`).
pub struct Dest;

impl Direction for Source {
    const WRITES: bool = true;
}

impl Direction for Dest {
    const WRITES: bool = false;
}

/// An iterator over memory that is the source of data.
pub type IovIterSource<'a> = IovIter<'a, Source>;

/// An iterator over memory that is the destination of data.
pub type IovIterDest<'a> = IovIter<'a, Dest>;

/// An iterator over the memory of an I/O (`struct iov_iter`).
///
/// Two iterators cannot be swapped: `'a` is invariant, and unique to one of them where that
/// matters.
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
    /// Borrows an iterator from a pointer of C.
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

    /// Copies an iterator of C, which stays valid.
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

    /// Returns whether the memory is a list of pages (`ITER_BVEC`).
    #[inline]
    pub fn is_bvec(&self) -> bool {
        // SAFETY: A valid iterator (type invariant), which is only looked at.
        unsafe { bindings::cfh_iov_iter_is_bvec(self.iter.get()) }
    }

    /// Returns the pointer that C functions take.
    #[inline]
    pub fn as_ptr(&mut self) -> *mut bindings::iov_iter {
        self.iter.get()
    }

    /// Returns the C iterator by value, for an I/O that outlives `'a`.
    #[inline]
    pub(super) fn into_raw(self) -> bindings::iov_iter {
        // SAFETY: A valid iterator (type invariant), which nobody else uses as we own it.
        unsafe { self.iter.get().read() }
    }

    /// Returns the number of bytes left.
    #[inline]
    pub fn count(&self) -> usize {
        // SAFETY: A valid iterator (type invariant), which is only looked at.
        unsafe { bindings::cfh_iov_iter_count(self.iter.get()) }
    }

    /// Advances by at most the bytes left.
    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        // SAFETY: A valid iterator (type invariant), ours alone while it is borrowed.
        unsafe { bindings::iov_iter_advance(self.as_ptr(), bytes.min(self.count())) };
    }

    /// Truncates the iterator to at most `bytes`.
    #[inline]
    pub fn truncate(&mut self, bytes: usize) {
        // SAFETY: A valid iterator (type invariant), ours alone while it is borrowed.
        unsafe { bindings::cfh_iov_iter_truncate(self.as_ptr(), bytes) };
    }
}

impl IovIterSource<'_> {
    /// Returns another iterator over what is left, as long as this one stays where it is.
    #[inline]
    pub fn duplicate(&self) -> IovIterSource<'_> {
        // SAFETY: Valid (type invariant), over memory that is only read. The lifetime is that of
        // the borrow, for which this one can be neither moved nor advanced.
        unsafe { IovIter::copy_of(self.iter.get()) }
    }

    /// Extends the iterator by `bytes` behind its end.
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
    /// Returns the C iterator, for a [`Window`] onto the memory.
    ///
    /// [`Window`]: super::Window
    #[inline]
    pub(super) fn to_raw(&self) -> bindings::iov_iter {
        // SAFETY: A valid iterator (type invariant), which has no owner of anything in it.
        unsafe { self.iter.get().read() }
    }

    /// Clears the next bytes, at most those left, and advances by them. Returns the number of bytes
    /// cleared, which is smaller where memory of user space faults.
    #[inline]
    pub fn zero(&mut self, bytes: usize) -> usize {
        // SAFETY: A valid iterator (type invariant) over memory to be written to, ours alone while
        // it is borrowed.
        unsafe { bindings::iov_iter_zero(bytes.min(self.count()), self.as_ptr()) }
    }
}
