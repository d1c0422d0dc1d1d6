// SPDX-License-Identifier: GPL-2.0

//! Subrequests: the pieces in which netfs reads and writes a file of its own.
//!
//! C header: [`include/linux/netfs.h`](srctree/include/linux/netfs.h)
//! (`struct netfs_io_subrequest`, `struct netfs_io_stream`).

use crate::{operation::Operation, Backend, Resources, Termination, WriteOperation};
use cachefiles_bindings as bindings;
use core::{marker::PhantomData, ptr::NonNull};
use kernel::ffi::c_ulong;
use kernel_ext::io::{IovIter, IovIterSource, Lender};

/// The flags of a subrequest (`netfs_io_subrequest::flags`), borrowed exclusively.
pub struct SubreqFlags<'a>(&'a mut c_ulong);

impl<'a> SubreqFlags<'a> {
    const COPY_TO_CACHE: c_ulong = 1 << bindings::NETFS_SREQ_COPY_TO_CACHE;
    const ONDEMAND: c_ulong = 1 << bindings::NETFS_SREQ_ONDEMAND;

    #[inline]
    pub(crate) fn new(flags: &'a mut c_ulong) -> Self {
        Self(flags)
    }

    /// Clears `NETFS_SREQ_ONDEMAND`, as no data is missing any more.
    #[inline]
    pub fn clear_ondemand(&mut self) {
        *self.0 &= !Self::ONDEMAND;
    }

    /// Sets `NETFS_SREQ_COPY_TO_CACHE`: the data is written to the cache once it is downloaded.
    #[inline]
    pub fn set_copy_to_cache(&mut self) {
        *self.0 |= Self::COPY_TO_CACHE;
    }

    /// Returns all flags, for traces.
    #[inline]
    pub fn raw(&self) -> c_ulong {
        *self.0
    }
}

/// The limits of one write to the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteLimits {
    /// The number of bytes.
    pub max_len: usize,
    /// The number of segments of memory.
    pub max_segments: u32,
}

/// A piece of a file that netfs wants written to the cache, during the callback for it.
///
/// Dropping it without [`WriteSubrequest::terminate`] or [`WriteSubrequest::begin`] tells netfs
/// `EIO`.
///
/// # Invariants
///
/// `raw` is a subrequest that was issued and not terminated, with its request and its stream, whose
/// cache resources are of `B` and that nobody else uses until it is terminated.
pub struct WriteSubrequest<'a, B: Backend> {
    raw: NonNull<bindings::netfs_io_subrequest>,
    done: Termination,
    _request: PhantomData<fn(&'a ()) -> &'a ()>,
    _backend: PhantomData<fn() -> B>,
}

impl<'a, B: Backend> WriteSubrequest<'a, B> {
    /// # Safety
    ///
    /// The type invariants hold for `raw` while `'a` lasts and it is not terminated. `'a` is the
    /// time of this callback and nothing else.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: *mut bindings::netfs_io_subrequest) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            // SAFETY: Valid pointers are not null.
            raw: unsafe { NonNull::new_unchecked(raw) },
            // SAFETY: An issued subrequest is terminated once, in any context.
            done: unsafe {
                Termination::new(
                    Some(bindings::netfs_write_subrequest_terminated),
                    raw.cast(),
                )
            },
            _request: PhantomData,
            _backend: PhantomData,
        }
    }

    #[inline]
    fn subreq(&self) -> &bindings::netfs_io_subrequest {
        // SAFETY: Valid, and ours alone, as it is not terminated (type invariant).
        unsafe { self.raw.as_ref() }
    }

    #[inline]
    fn subreq_mut(&mut self) -> &mut bindings::netfs_io_subrequest {
        // SAFETY: Valid, and ours alone, as it is not terminated (type invariant); `self` is
        // borrowed for as long as the reference lives.
        unsafe { self.raw.as_mut() }
    }

    /// Returns the resources of the operation that the subrequest belongs to.
    #[inline]
    pub fn resources(&mut self) -> Resources<'_, B> {
        // SAFETY: A subrequest has its request, whose resources are of `B` (type invariant).
        unsafe { Resources::from_raw(&raw mut (*self.subreq().rreq).cache_resources) }
    }

    /// Returns the offset in the file, in bytes.
    #[inline]
    pub fn start(&self) -> u64 {
        self.subreq().start
    }

    /// Returns the length in bytes, with those that were skipped.
    #[inline]
    pub fn len(&self) -> usize {
        self.subreq().len
    }

    /// Returns whether the length is 0.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the size of the file as the request has it, in bytes.
    #[inline]
    pub fn file_size(&self) -> u64 {
        // SAFETY: A subrequest has its request (type invariant).
        unsafe { (&raw const (*self.subreq().rreq).i_size).read() }
    }

    /// Returns how many bytes of memory behind its end may be written with it.
    #[inline]
    pub fn extendable_by(&self) -> usize {
        let subreq = self.subreq();
        // SAFETY: A subrequest has its request (type invariant), and is of one of its streams.
        let streams = unsafe { &(*subreq.rreq).io_streams };
        streams
            .get(usize::from(subreq.stream_nr))
            .map_or(0, |stream| stream.submit_extendable_to as usize)
    }

    /// Skips the first `bytes` that are left, at most all of them: they count as written.
    #[inline]
    pub fn skip(&mut self, bytes: usize) {
        let subreq = self.subreq_mut();
        let bytes = bytes.min(subreq.len - subreq.transferred.min(subreq.len));
        subreq.transferred += bytes;
        // SAFETY: The iterator is the subrequest's, which is ours alone.
        unsafe { IovIterSource::from_raw(&mut subreq.io_iter) }.advance(bytes);
    }

    /// Extends the subrequest by bytes of memory behind its end, at most
    /// [`WriteSubrequest::extendable_by`]. Returns how many it was extended by.
    #[inline]
    pub fn extend(&mut self, bytes: usize) -> usize {
        let bytes = bytes.min(self.extendable_by());
        let subreq = self.subreq_mut();
        subreq.len += bytes;
        // SAFETY: The iterator is the subrequest's, which is ours alone; netfs says that the
        // memory goes on for as many bytes as it may be extended by.
        unsafe { IovIterSource::from_raw(&mut subreq.io_iter).extend(bytes) };
        bytes
    }

    /// Ends the subrequest now, with the bytes written or a negative error number.
    #[inline]
    pub fn terminate(self, result: isize) {
        self.done.tell(result, false);
    }

    /// Begins the write of the first `len` bytes that are left, at most all of them.
    #[inline]
    pub fn begin(self, len: usize) -> WriteOperation<'a, B> {
        let raw = self.raw.as_ptr();
        // SAFETY: A subrequest has its request, whose resources are of `B` (type invariant); a
        // request keeps them until its subrequests are terminated.
        let resources = unsafe { Resources::from_raw(&raw mut (*(*raw).rreq).cache_resources) };
        // SAFETY: The iterator is the subrequest's, over pages that the request keeps until the
        // subrequest is terminated.
        let mut memory = unsafe { IovIter::copy_of(&raw const (*raw).io_iter) };
        memory.truncate(len);
        // SAFETY: Resources and memory stay until the subrequest is terminated, which is what
        // `done` does; `'a` is this subrequest's alone.
        unsafe { Operation::new(resources, memory, self.done) }
    }
}
