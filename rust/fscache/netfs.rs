// SPDX-License-Identifier: GPL-2.0

//! The operations on the data of an object, as netfs and EROFS call them.
//!
//! C header: [`include/linux/netfs.h`](srctree/include/linux/netfs.h)
//! (`struct netfs_cache_ops`).

use crate::{
    operation::Operation, Backend, IoSource, Prepared, ReadHole, ReadOperation, Resources,
    SubreqFlags, Termination, WriteSubrequest,
};
use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use kernel::ffi::{c_int, c_uint, c_ulong, c_ulonglong};
use kernel_ext::io::IovIter;

/// The tables of functions of a backend (`struct netfs_cache_ops`).
pub(crate) struct NetfsOps<B>(PhantomData<B>);

impl<B: Backend> NetfsOps<B> {
    // Functions that begin with `cfh_` have a prototype that only C can have (see
    // `rust/helpers/ops.c`). They call the functions at the end of the table.
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

    /// The functions of an operation that failed when it was prepared.
    const FAILED: bindings::cfh_netfs_ops = bindings::cfh_netfs_ops {
        read: Some(Self::read_failed),
        prepare_ondemand_read: Some(Self::prepare_failed),
        ..Self::TABLE
    };

    /// The functions of an operation whose read has missing data fetched.
    const FETCHING: bindings::cfh_netfs_ops = bindings::cfh_netfs_ops {
        read: Some(Self::read_fetching),
        ..Self::TABLE
    };

    /// Returns the part of the table that netfs knows of, with the rest behind it.
    #[inline]
    pub(crate) fn table() -> *const bindings::netfs_cache_ops {
        let table: &'static bindings::cfh_netfs_ops = &Self::TABLE;
        core::ptr::from_ref(table).cast()
    }

    /// Returns the part of the table that netfs knows of, for a failed operation.
    #[inline]
    pub(crate) fn table_of_failed() -> *const bindings::netfs_cache_ops {
        let table: &'static bindings::cfh_netfs_ops = &Self::FAILED;
        core::ptr::from_ref(table).cast()
    }

    /// Returns the part of the table that netfs knows of, for an operation whose read has missing
    /// data fetched.
    #[inline]
    pub(crate) fn table_of_fetching() -> *const bindings::netfs_cache_ops {
        let table: &'static bindings::cfh_netfs_ops = &Self::FETCHING;
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

    /// Creates the operation for a read that EROFS or netfs asks for.
    ///
    /// EROFS has two callers, and each can be told an error in one way only. The caller for
    /// compressed images (`erofs_fscache_submit_bio()`, whose memory is a list of pages) ends its
    /// bio itself where the call returns an error, although the bio is freed if its function was
    /// called before: so it is told by its function only. The other caller
    /// (`erofs_fscache_data_read_slice()`) passes the returned error to the reader, and ignores the
    /// one that its function is told. Both take an iterator that is not at its end after the call
    /// for an error of their own.
    ///
    /// # Safety
    ///
    /// The arguments are those of `read`, of resources that the backend began an operation on, and
    /// `'op` is the time of this call and nothing else.
    #[inline]
    unsafe fn read_operation<'op>(
        cres: *mut bindings::netfs_cache_resources,
        iter: *mut bindings::iov_iter,
        hole: ReadHole,
        done: *const bindings::cfh_termination,
    ) -> ReadOperation<'op, B> {
        // SAFETY: By the caller's promise: the backend began an operation on them.
        let resources = unsafe { Resources::from_raw(cres) };
        // SAFETY: netfs and EROFS pass a function that is to be called once, with `private`.
        let done = unsafe { Termination::new((*done).func, (*done).private) };
        // SAFETY: They pass a valid iterator over pages that are locked, which they neither use nor
        // give up before they are told.
        let memory = unsafe { IovIter::copy_of(iter) };
        let is_bvec = memory.is_bvec();
        if matches!(hole, ReadHole::Fail | ReadHole::Fetch) {
            // SAFETY: A valid iterator, with so many bytes left.
            unsafe { bindings::iov_iter_advance(iter, memory.count()) };
        }
        // SAFETY: netfs and EROFS keep resources and memory until they are told; and the caller's
        // promise for `'op`.
        let operation = unsafe { Operation::new(resources, memory, done) };
        if is_bvec {
            operation.answering_once()
        } else {
            operation
        }
    }

    /// # Safety
    ///
    /// Only called by netfs and EROFS.
    unsafe extern "C" fn read(
        cres: *mut bindings::netfs_cache_resources,
        start: bindings::loff_t,
        iter: *mut bindings::iov_iter,
        hole: c_uint,
        done: *const bindings::cfh_termination,
    ) -> c_int {
        let hole = ReadHole::from_raw(hole);
        // SAFETY: The arguments are the caller's, for resources with an operation that has begun.
        let operation = unsafe { Self::read_operation(cres, iter, hole, done) };
        B::read(operation, start, hole).into_raw()
    }

    /// # Safety
    ///
    /// As for `read`.
    unsafe extern "C" fn read_fetching(
        cres: *mut bindings::netfs_cache_resources,
        start: bindings::loff_t,
        iter: *mut bindings::iov_iter,
        hole: c_uint,
        done: *const bindings::cfh_termination,
    ) -> c_int {
        let hole = match ReadHole::from_raw(hole) {
            ReadHole::Fail => ReadHole::Fetch,
            other => other,
        };
        // SAFETY: The arguments are the caller's, for resources with an operation that has begun.
        let operation = unsafe { Self::read_operation(cres, iter, hole, done) };
        B::read(operation, start, hole).into_raw()
    }

    /// # Safety
    ///
    /// As for `read`, with resources that are those of a failed operation.
    unsafe extern "C" fn read_failed(
        cres: *mut bindings::netfs_cache_resources,
        _start: bindings::loff_t,
        iter: *mut bindings::iov_iter,
        hole: c_uint,
        done: *const bindings::cfh_termination,
    ) -> c_int {
        let hole = ReadHole::from_raw(hole);
        // SAFETY: The arguments are the caller's, for resources with an operation that has begun.
        let mut operation = unsafe { Self::read_operation(cres, iter, hole, done) };
        let error = operation.parts().0.failure();
        operation.fail(error).into_raw()
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
        let resources = unsafe { Resources::from_raw(cres) };
        // SAFETY: netfs passes a function that is to be called once, with `private`.
        let done = unsafe { Termination::new((*done).func, (*done).private) };
        // SAFETY: netfs passes a valid iterator over pages that it does not give up before it is
        // told.
        let memory = unsafe { IovIter::copy_of(iter) };
        // SAFETY: netfs keeps resources and memory until it is told; and the lifetime is that of
        // this call.
        let operation = unsafe { Operation::new(resources, memory, done) };
        B::write(operation, start).into_raw()
    }

    /// # Safety
    ///
    /// Only called by netfs, with a subrequest that is being prepared.
    unsafe extern "C" fn prepare_read(
        subreq: *mut bindings::netfs_io_subrequest,
        i_size: c_ulonglong,
    ) -> c_int {
        // SAFETY: A subrequest in preparation is the caller's alone, which lends it.
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
        let mut len = subreq.len;
        let source = B::prepare_read(
            &mut resources,
            start,
            &mut len,
            i_size,
            &mut flags,
            ino as u64,
        );
        subreq.len = subreq.len.min(len);
        source as c_int
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
                // SAFETY: netfs passes a subrequest that has its request, and that one its streams.
                let streams = unsafe { &raw mut (*(*subreq).rreq).io_streams };
                // SAFETY: netfs passes a valid subrequest, whose stream does not change.
                let number = usize::from(unsafe { (*subreq).stream_nr });
                // SAFETY: A subrequest is of one of the request's streams, and only the task that
                // prepares a subrequest uses these two fields of its stream.
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
        _i_size: bindings::loff_t,
        flags: *mut c_ulong,
        ino: c_ulong,
    ) -> c_int {
        // SAFETY: The caller passes resources that the backend began an operation on.
        let mut resources = unsafe { Resources::<B>::from_raw(cres) };
        // SAFETY: The caller passes places of its own for these two.
        let (len, flags) = unsafe { (*len, &mut *flags) };
        let mut flags = SubreqFlags::new(flags);
        match B::prepare_ondemand_read(&mut resources, start, len, &mut flags, ino as u64) {
            Ok(Prepared::Filled) => {}
            // SAFETY: EROFS has resources for each read, and has nothing on its way with these
            // while it prepares it.
            Ok(Prepared::Left) => unsafe { resources.fetch_in_read() },
            // SAFETY: EROFS has resources for each read, and has nothing on its way with these
            // while it prepares it.
            Err(error) => unsafe { resources.fail(error) },
        }
        IoSource::ReadFromCache as c_int
    }

    /// # Safety
    ///
    /// As for `prepare_ondemand_read`, of a failed operation.
    unsafe extern "C" fn prepare_failed(
        _cres: *mut bindings::netfs_cache_resources,
        _start: bindings::loff_t,
        _len: *mut usize,
        _i_size: bindings::loff_t,
        _flags: *mut c_ulong,
        _ino: c_ulong,
    ) -> c_int {
        IoSource::ReadFromCache as c_int
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
