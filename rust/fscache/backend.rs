// SPDX-License-Identifier: GPL-2.0

//! What a cache backend is: the operations that fscache and netfs call.
//!
//! C headers: [`include/linux/fscache-cache.h`](srctree/include/linux/fscache-cache.h)
//! (`struct fscache_cache_ops`), [`include/linux/netfs.h`](srctree/include/linux/netfs.h)
//! (`struct netfs_cache_ops`). The functions that C calls are in `ops.rs`.

use crate::{
    Begun, Cookie, Invalidation, LookupSlot, ReadOperation, Resources, SubreqFlags, VolumeHandle,
    WriteLimits, WriteOperation, WriteSubrequest,
};
use cachefiles_bindings as bindings;
use kernel::{
    error::{Error, Result},
    str::CStr,
    sync::{Arc, ArcBorrow},
};

/// A cache backend.
///
/// All run in process context and may sleep, but for [`Backend::end_operation`].
pub trait Backend: Sized + 'static {
    /// What `/proc/fs/fscache` and the log call it.
    const NAME: &'static CStr;
    /// A cache of this backend.
    type Cache: Send + Sync;
    /// A volume in it.
    type Volume: Send + Sync;
    /// An object in a volume.
    type Object: Send + Sync;

    /// Makes or finds the volume's place in the cache. `None` if that fails: it is then not cached.
    ///
    /// Runs on the system work queue, at most once at a time for a volume. The cache is not
    /// withdrawn meanwhile.
    fn acquire_volume(
        cache: ArcBorrow<'_, Self::Cache>,
        volume: VolumeHandle,
    ) -> Option<Arc<Self::Volume>>;

    /// The volume is about to be attached: where the backend lists it, so that the cache can be
    /// withdrawn. On an error it is dropped instead, and not cached.
    ///
    /// Runs in the same callback as [`Backend::acquire_volume`], so neither
    /// [`Backend::free_volume`] nor the end of [`AcquiredCache::withdraw`] can come before it is
    /// attached.
    ///
    /// [`AcquiredCache::withdraw`]: crate::AcquiredCache::withdraw
    fn volume_attached(cache: ArcBorrow<'_, Self::Cache>, volume: &Arc<Self::Volume>) -> Result {
        let _ = (cache, volume);
        Ok(())
    }

    /// The volume's owner and all its cookies are gone. The volume is detached by now.
    fn free_volume(volume: Arc<Self::Volume>);

    /// Finds or makes the object of a cookie, and hands it to `slot` before anything else can get
    /// to see the cookie.
    ///
    /// False if it failed. An object that was attached is withdrawn then, when fscache lets go of
    /// the cookie.
    ///
    /// Runs on `fscache_wq`, as all operations on cookies up to [`Backend::invalidate_cookie`], of
    /// which only one runs at a time for a cookie.
    fn lookup_cookie(
        cache: ArcBorrow<'_, Self::Cache>,
        volume: Option<ArcBorrow<'_, Self::Volume>>,
        cookie: &Cookie,
        slot: LookupSlot<'_, Self>,
    ) -> bool;

    /// Puts an object away: nobody has access to it any more. It is detached and dropped when this
    /// returns.
    fn withdraw_cookie(cookie: &Cookie, object: ArcBorrow<'_, Self::Object>);

    /// Replaces what is stored by nothing, and calls [`Invalidation::resume`]. False if it failed,
    /// and it counts as failed without that call: the object is withdrawn then.
    fn invalidate_cookie(
        cookie: &Cookie,
        object: ArcBorrow<'_, Self::Object>,
        invalidation: Invalidation<'_>,
    ) -> bool;

    /// The owner is about to write to the file, for the first time.
    fn prepare_to_write(cookie: &Cookie, object: ArcBorrow<'_, Self::Object>);

    /// The owner changed the file's size, in bytes. Not on a worker but in the owner's task.
    fn resize_cookie(resources: &mut Resources<'_, Self>, new_size: u64);

    /// Begins an operation: calls [`Resources::set_file`].
    ///
    /// Also called from within [`Resources::wait_for_operation`], where [`Begin::Failed`] is the
    /// same as [`Begin::Refused`].
    fn begin_operation(resources: &mut Resources<'_, Self>, want: WantState) -> Begin;

    /// An operation is over. Once this returns, the file is given up and the access to the cookie
    /// ends.
    ///
    /// May be called in hard interrupt context, from the completion of a read.
    fn end_operation(resources: &mut Resources<'_, Self>) {
        let _ = resources;
    }

    /// Reads from the object at `start` (bytes), as much as the operation has memory for.
    fn read<'op>(operation: ReadOperation<'op, Self>, start: i64, hole: ReadHole) -> Begun<'op>;

    /// Writes to the object at `start` (bytes), as much as the operation has memory with.
    fn write<'op>(operation: WriteOperation<'op, Self>, start: i64) -> Begun<'op>;

    /// Where a read of `len` bytes at `start` is to be served from, in a file of `i_size` bytes.
    /// Shortens `len` to what comes from one source; it cannot be made longer.
    ///
    /// `ino` is the inode number that the owner gives the file, for traces.
    fn prepare_read(
        resources: &mut Resources<'_, Self>,
        start: i64,
        len: &mut usize,
        i_size: i64,
        flags: &mut SubreqFlags<'_>,
        ino: u64,
    ) -> IoSource;

    /// Sees to it that a write of `len` bytes at `start` can be done, and sets `len` to what is
    /// written: whole units of direct I/O. There is memory for `upper_len` bytes.
    ///
    /// `no_space_allocated_yet` if the caller knows that the range is a hole.
    ///
    /// Errors: `ENOBUFS` if it cannot be cached; `EIO`, and others of the file system.
    fn prepare_write(
        resources: &mut Resources<'_, Self>,
        start: i64,
        len: &mut usize,
        upper_len: usize,
        no_space_allocated_yet: bool,
    ) -> Result;

    /// How much a subrequest for a write that is being put together may carry. `None` if the cache
    /// does not take it.
    fn prepare_write_subreq(resources: &mut Resources<'_, Self>) -> Option<WriteLimits>;

    /// Writes a subrequest, or what of it direct I/O can do. A write that is refused is no loss:
    /// the server has the data.
    fn issue_write(write: WriteSubrequest<'_, Self>);

    /// Sees to it that `len` bytes at `start` can be read from the cache: has fetched what is
    /// missing, and waits for it; or leaves that to the read that follows.
    ///
    /// The operation fails with the error, and the read that follows is not the backend's any more.
    fn prepare_ondemand_read(
        resources: &mut Resources<'_, Self>,
        start: i64,
        len: usize,
        flags: &mut SubreqFlags<'_>,
        ino: u64,
    ) -> Result<Prepared>;

    /// Where the first data in the range is, in bytes, and how long it goes on, both in whole
    /// granules.
    ///
    /// Errors: `ENODATA` if there is none; `ENOBUFS` if the cache cannot say.
    fn query_occupancy(
        resources: &mut Resources<'_, Self>,
        start: i64,
        len: usize,
        granularity: usize,
    ) -> Result<(i64, usize)>;
}

/// How an operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It has what it needs.
    Begun,
    /// It does not begin, and its owner is told so: there is no file, and there has to be one.
    Refused,
    /// It begins, but all that it can do is to fail, with this error: for an owner that cannot do
    /// without the operation, as EROFS.
    Failed(Error),
}

/// How an on-demand read is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// All of it is in the cache.
    Filled,
    /// The read that follows sees to that: it is one with [`ReadHole::Fetch`].
    Left,
}

/// How far an object has to be for an operation to begin (`enum fscache_want_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantState {
    /// It is known what it is; there may be nothing in it, not even a file.
    Params,
    /// It can be written to.
    Write,
    /// It can be read.
    Read,
}

impl WantState {
    #[inline]
    pub(crate) fn from_raw(want: bindings::fscache_want_state) -> Self {
        match want {
            bindings::fscache_want_state_FSCACHE_WANT_PARAMS => Self::Params,
            bindings::fscache_want_state_FSCACHE_WANT_WRITE => Self::Write,
            _ => Self::Read,
        }
    }

    #[inline]
    pub(crate) fn as_raw(self) -> bindings::fscache_want_state {
        match self {
            Self::Params => bindings::fscache_want_state_FSCACHE_WANT_PARAMS,
            Self::Write => bindings::fscache_want_state_FSCACHE_WANT_WRITE,
            Self::Read => bindings::fscache_want_state_FSCACHE_WANT_READ,
        }
    }
}

/// What a read that begins in a hole is to do (`enum netfs_read_from_hole`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadHole {
    /// Not look for holes: the caller knows that there are none.
    Ignore,
    /// Fill it with zeros.
    Clear,
    /// Fail with `ENODATA`.
    Fail,
    /// Have fetched what is missing: what was left when the read was prepared. The rest is as for
    /// [`ReadHole::Fail`].
    Fetch,
}

impl ReadHole {
    #[inline]
    pub(crate) fn from_raw(hole: bindings::netfs_read_from_hole) -> Self {
        match hole {
            bindings::netfs_read_from_hole_NETFS_READ_HOLE_IGNORE => Self::Ignore,
            bindings::netfs_read_from_hole_NETFS_READ_HOLE_CLEAR => Self::Clear,
            _ => Self::Fail,
        }
    }
}

/// Where data is to come from (`enum netfs_io_source`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum IoSource {
    /// There is none: it is behind the end of the file.
    FillWithZeroes = bindings::netfs_io_source_NETFS_FILL_WITH_ZEROES,
    /// From the server; it is not in the cache.
    DownloadFromServer = bindings::netfs_io_source_NETFS_DOWNLOAD_FROM_SERVER,
    /// From the cache.
    ReadFromCache = bindings::netfs_io_source_NETFS_READ_FROM_CACHE,
    /// From nowhere: the read has to fail.
    InvalidRead = bindings::netfs_io_source_NETFS_INVALID_READ,
}
