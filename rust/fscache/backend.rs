// SPDX-License-Identifier: GPL-2.0

//! The trait of a cache backend: the operations that fscache and netfs call.
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
/// All functions run in process context and may sleep, except [`Backend::end_operation`].
pub trait Backend: Sized + 'static {
    /// The name in `/proc/fs/fscache` and in the log.
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

    /// Lists a volume that is about to be attached, so that it is found when the cache is
    /// withdrawn. On an error the volume is dropped instead, and not cached.
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

    /// Frees a volume, whose owner and cookies are gone. It is detached already.
    fn free_volume(volume: Arc<Self::Volume>);

    /// Finds or makes the object of a cookie, and hands it to `slot` before the cookie is published
    /// to others.
    ///
    /// Returns false on failure. An object that was attached is then withdrawn when fscache drops
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

    /// Withdraws an object, to which there is no access any more. It is detached and dropped when
    /// this returns.
    fn withdraw_cookie(cookie: &Cookie, object: ArcBorrow<'_, Self::Object>);

    /// Replaces the stored data by an empty file, and calls [`Invalidation::resume`]. Returns false
    /// on failure; without that call it counts as failed as well. The object is then withdrawn.
    fn invalidate_cookie(
        cookie: &Cookie,
        object: ArcBorrow<'_, Self::Object>,
        invalidation: Invalidation<'_>,
    ) -> bool;

    /// Prepares the object for writes: its owner is about to write for the first time.
    fn prepare_to_write(cookie: &Cookie, object: ArcBorrow<'_, Self::Object>);

    /// Resizes the object, as the owner changed the size of the file, in bytes. Runs in the task of
    /// the owner, not on a worker.
    fn resize_cookie(resources: &mut Resources<'_, Self>, new_size: u64);

    /// Begins an operation: calls [`Resources::set_file`].
    ///
    /// Also called from within [`Resources::wait_for_operation`], which takes [`Begin::Failed`] for
    /// [`Begin::Refused`].
    fn begin_operation(resources: &mut Resources<'_, Self>, want: WantState) -> Begin;

    /// Ends an operation. Once this returns, the file is dropped and the access to the cookie ends.
    ///
    /// May be called in hard interrupt context, from the completion of a read.
    fn end_operation(resources: &mut Resources<'_, Self>) {
        let _ = resources;
    }

    /// Reads from the object at `start` (bytes), as much as the operation has memory for.
    fn read<'op>(operation: ReadOperation<'op, Self>, start: i64, hole: ReadHole) -> Begun<'op>;

    /// Writes to the object at `start` (bytes), as much as the operation has memory with.
    fn write<'op>(operation: WriteOperation<'op, Self>, start: i64) -> Begun<'op>;

    /// Decides where a read of `len` bytes at `start` is served from, in a file of `i_size` bytes.
    /// Shortens `len` to the part that comes from one source; it cannot be made longer.
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

    /// Prepares a write of `len` bytes at `start`, and sets `len` to the bytes to be written: whole
    /// units of direct I/O. There is memory for `upper_len` bytes.
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

    /// Limits the size of a subrequest for a write that is being assembled. `None` if the cache
    /// does not take it.
    fn prepare_write_subreq(resources: &mut Resources<'_, Self>) -> Option<WriteLimits>;

    /// Writes a subrequest, or the part of it that direct I/O can write. A refused write is no
    /// loss: the server has the data.
    fn issue_write(write: WriteSubrequest<'_, Self>);

    /// Prepares an on-demand read of `len` bytes at `start`: has missing data fetched, and waits
    /// for it; or leaves that to the read that follows.
    ///
    /// On an error the operation fails with it, and the backend does not get the read that follows.
    fn prepare_ondemand_read(
        resources: &mut Resources<'_, Self>,
        start: i64,
        len: usize,
        flags: &mut SubreqFlags<'_>,
        ino: u64,
    ) -> Result<Prepared>;

    /// Finds the first data in the range: its start and length in bytes, both in whole granules.
    ///
    /// Errors: `ENODATA` if there is none; `ENOBUFS` if the cache cannot say.
    fn query_occupancy(
        resources: &mut Resources<'_, Self>,
        start: i64,
        len: usize,
        granularity: usize,
    ) -> Result<(i64, usize)>;
}

/// The outcome of beginning an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It has what it needs.
    Begun,
    /// It does not begin, and its owner is told so: there is no file.
    Refused,
    /// It begins, but fails all its reads with this error: for an owner that cannot do without the
    /// operation, as EROFS.
    Failed(Error),
}

/// The outcome of preparing an on-demand read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// All of it is in the cache.
    Filled,
    /// Data may be missing: the read that follows is one with [`ReadHole::Fetch`], and has it
    /// fetched.
    Left,
}

/// The state that an object has to reach for an operation to begin (`enum fscache_want_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantState {
    /// Its parameters are known; it may have no data, and no file.
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

/// The behaviour of a read that begins in a hole (`enum netfs_read_from_hole`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadHole {
    /// Does not look for holes: the caller knows that there are none.
    Ignore,
    /// Fills the hole with zeros.
    Clear,
    /// Fails with `ENODATA`.
    Fail,
    /// Has data fetched that is missing, which was left when the read was prepared. Otherwise as
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

/// The source of data (`enum netfs_io_source`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum IoSource {
    /// None: the range is behind the end of the file.
    FillWithZeroes = bindings::netfs_io_source_NETFS_FILL_WITH_ZEROES,
    /// From the server; it is not in the cache.
    DownloadFromServer = bindings::netfs_io_source_NETFS_DOWNLOAD_FROM_SERVER,
    /// From the cache.
    ReadFromCache = bindings::netfs_io_source_NETFS_READ_FROM_CACHE,
    /// From nowhere: the read has to fail.
    InvalidRead = bindings::netfs_io_source_NETFS_INVALID_READ,
}
