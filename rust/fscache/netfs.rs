// SPDX-License-Identifier: GPL-2.0

//! The operations on the content of an object, as netfs and EROFS call them.
//!
//! C header: [`include/linux/netfs.h`](srctree/include/linux/netfs.h)
//! (`struct netfs_cache_ops`).

use crate::{Backend, IoSource, ReadHole, Resources, SubreqFlags, WriteSubrequest};
use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use kernel::{
    error::code::EIO,
    ffi::{c_int, c_uint, c_ulong, c_ulonglong, c_void},
};
use kext::io::IovIter;

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
    pub fn is_wanted(&self) -> bool {
        self.func.is_some()
    }

    /// Tells the caller: bytes transferred, or a negative error number. `was_async` if this is not
    /// the context of the call. Any context.
    ///
    /// The caller may end the operation right here: what the access to the cookie keeps alive may
    /// be gone after this, and whoever drops the last reference to it then drops it in this
    /// context.
    #[inline]
    pub fn finish(mut self, result: isize, was_async: bool) {
        self.call(result, was_async);
    }

    #[inline]
    fn call(&mut self, result: isize, was_async: bool) {
        if let Some(func) = self.func.take() {
            // SAFETY: It may be called once, which is now, as it was taken out (promise of `new`).
            unsafe { func(self.private, result, was_async) };
        }
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

/// The table of functions of a backend.
pub(crate) struct NetfsOps<B>(PhantomData<B>);

impl<B: Backend> NetfsOps<B> {
    // What begins with `cfh_` has a prototype that only C can have (see `rust/helpers/ops.c`), and
    // goes on to the functions at the end.
    const TABLE: bindings::cfh_netfs_ops = bindings::cfh_netfs_ops {
        ops: bindings::netfs_cache_ops {
            end_operation: Some(Self::end_operation),
            read: Some(bindings::cfh_read),
            write: Some(bindings::cfh_write),
            issue_write: Some(Self::issue_write),
            expand_readahead: None,
            prepare_read: Some(bindings::cfh_prepare_read),
            prepare_write_subreq: Some(Self::prepare_write_subreq),
            prepare_write: Some(Self::prepare_write),
            prepare_ondemand_read: Some(bindings::cfh_prepare_ondemand_read),
            query_occupancy: Some(Self::query_occupancy),
        },
        read: Some(Self::read),
        write: Some(Self::write),
        prepare_read: Some(Self::prepare_read),
        prepare_ondemand_read: Some(Self::prepare_ondemand_read),
    };

    /// The part of the table that netfs knows of, with the rest behind it.
    #[inline]
    pub(crate) fn table() -> *const bindings::netfs_cache_ops {
        let table: &'static bindings::cfh_netfs_ops = &Self::TABLE;
        core::ptr::from_ref(table).cast()
    }

    /// # Safety
    ///
    /// Only called by netfs: once, when nobody uses the resources any more.
    unsafe extern "C" fn end_operation(cres: *mut bindings::netfs_cache_resources) {
        // SAFETY: netfs passes resources that the backend began an operation on.
        let mut resources = unsafe { Resources::<B>::from_raw(cres) };
        B::end_operation(&mut resources);
        // SAFETY: This is the end, and the backend has returned.
        unsafe { resources.end() };
    }

    /// # Safety
    ///
    /// Only called by netfs.
    unsafe extern "C" fn read(
        cres: *mut bindings::netfs_cache_resources,
        start: bindings::loff_t,
        iter: *mut bindings::iov_iter,
        hole: c_uint,
        done: *const bindings::cfh_termination,
    ) -> c_int {
        // SAFETY: netfs passes resources that the backend began an operation on.
        let mut resources = unsafe { Resources::<B>::from_raw(cres) };
        // SAFETY: netfs passes an iterator that is ours for the time of the call.
        let iter = unsafe { IovIter::from_raw(iter) };
        // SAFETY: netfs passes a function that is to be called once, with `private`.
        let done = unsafe { Termination::new((*done).func, (*done).private) };
        // An error number or 0.
        B::read(&mut resources, start, iter, ReadHole::from_raw(hole), done) as c_int
    }

    /// # Safety
    ///
    /// Only called by netfs.
    unsafe extern "C" fn write(
        cres: *mut bindings::netfs_cache_resources,
        start: bindings::loff_t,
        iter: *mut bindings::iov_iter,
        done: *const bindings::cfh_termination,
    ) -> c_int {
        // SAFETY: netfs passes resources that the backend began an operation on.
        let mut resources = unsafe { Resources::<B>::from_raw(cres) };
        // SAFETY: netfs passes an iterator that is ours for the time of the call.
        let iter = unsafe { IovIter::from_raw(iter) };
        // SAFETY: netfs passes a function that is to be called once, with `private`.
        let done = unsafe { Termination::new((*done).func, (*done).private) };
        // An error number or 0.
        B::write(&mut resources, start, iter, done) as c_int
    }

    /// # Safety
    ///
    /// Only called by netfs, with a subrequest that is being prepared.
    unsafe extern "C" fn prepare_read(
        subreq: *mut bindings::netfs_io_subrequest,
        i_size: c_ulonglong,
    ) -> c_int {
        // SAFETY: A subrequest in preparation is the caller's alone, who lends it to us.
        let subreq = unsafe { &mut *subreq };
        // SAFETY: A subrequest has its request, and that one the inode that is read.
        let ino = unsafe { (*(*subreq.rreq).inode).i_ino };
        // SAFETY: netfs passes a request that the backend began an operation on.
        let mut resources =
            unsafe { Resources::<B>::from_raw(&raw mut (*subreq.rreq).cache_resources) };
        let (Ok(start), Ok(i_size)) = (subreq.start.try_into(), i_size.try_into()) else {
            return IoSource::DownloadFromServer as c_int;
        };
        let mut flags = SubreqFlags::new(&mut subreq.flags);
        let len = &mut subreq.len;
        B::prepare_read(&mut resources, start, len, i_size, &mut flags, ino as u64) as c_int
    }

    /// # Safety
    ///
    /// Only called by netfs, with a subrequest that is being prepared.
    unsafe extern "C" fn prepare_write_subreq(subreq: *mut bindings::netfs_io_subrequest) {
        // SAFETY: A subrequest has its request, whose operation the backend began.
        let mut resources =
            unsafe { Resources::<B>::from_raw(&raw mut (*(*subreq).rreq).cache_resources) };
        match B::prepare_write_subreq(&mut resources) {
            Some(limits) => {
                // SAFETY: As above; only the task that prepares a subrequest of a stream uses
                // these two fields of the stream.
                let streams = unsafe { &raw mut (*(*subreq).rreq).io_streams };
                // SAFETY: As above.
                let number = usize::from(unsafe { (*subreq).stream_nr });
                // SAFETY: A subrequest is of one of the request's streams.
                unsafe {
                    let stream = streams.cast::<bindings::netfs_io_stream>().add(number);
                    (*stream).sreq_max_len = limits.max_len;
                    (*stream).sreq_max_segs = limits.max_segments;
                }
            }
            // SAFETY: A subrequest that is being prepared.
            None => unsafe { bindings::netfs_prepare_write_failed(subreq) },
        }
    }

    /// # Safety
    ///
    /// Only called by netfs, with a subrequest that is ours until it is terminated.
    unsafe extern "C" fn issue_write(subreq: *mut bindings::netfs_io_subrequest) {
        // SAFETY: By the caller's promise; the backend began the operation of its request.
        B::issue_write(unsafe { WriteSubrequest::from_raw(subreq) });
    }

    /// # Safety
    ///
    /// Only called by fscache, with valid places for `start` and `len`.
    unsafe extern "C" fn prepare_write(
        cres: *mut bindings::netfs_cache_resources,
        start: *mut bindings::loff_t,
        len: *mut usize,
        upper_len: usize,
        _i_size: bindings::loff_t,
        no_space_allocated_yet: bool,
    ) -> c_int {
        // SAFETY: fscache passes resources that the backend began an operation on.
        let mut resources = unsafe { Resources::<B>::from_raw(cres) };
        // SAFETY: fscache passes places of its own for these two.
        let (start, len) = unsafe { (*start, &mut *len) };
        match B::prepare_write(
            &mut resources,
            start,
            len,
            upper_len,
            no_space_allocated_yet,
        ) {
            Ok(()) => 0,
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Only called by EROFS and netfs, with valid places for `len` and `flags`.
    unsafe extern "C" fn prepare_ondemand_read(
        cres: *mut bindings::netfs_cache_resources,
        start: bindings::loff_t,
        len: *mut usize,
        i_size: bindings::loff_t,
        flags: *mut c_ulong,
        ino: c_ulong,
    ) -> c_int {
        // SAFETY: The caller passes resources that the backend began an operation on.
        let mut resources = unsafe { Resources::<B>::from_raw(cres) };
        // SAFETY: The caller passes places of its own for these two.
        let (len, flags) = unsafe { (&mut *len, &mut *flags) };
        let mut flags = SubreqFlags::new(flags);
        B::prepare_ondemand_read(&mut resources, start, len, i_size, &mut flags, ino as u64)
            as c_int
    }

    /// # Safety
    ///
    /// Only called by netfs, with valid places for the answer.
    unsafe extern "C" fn query_occupancy(
        cres: *mut bindings::netfs_cache_resources,
        start: bindings::loff_t,
        len: usize,
        granularity: usize,
        data_start: *mut bindings::loff_t,
        data_len: *mut usize,
    ) -> c_int {
        // SAFETY: netfs passes resources that the backend began an operation on.
        let mut resources = unsafe { Resources::<B>::from_raw(cres) };
        let (answer, ret) = match B::query_occupancy(&mut resources, start, len, granularity) {
            Ok(answer) => (answer, 0),
            Err(error) => ((-1, 0), error.to_errno()),
        };
        // SAFETY: netfs passes places of its own for both.
        unsafe { (*data_start, *data_len) = answer };
        ret
    }
}
