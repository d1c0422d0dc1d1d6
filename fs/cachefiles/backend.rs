// SPDX-License-Identifier: GPL-2.0

//! How netfs and fscache call the cache. Nothing happens here: each call goes where it belongs.

use crate::cache::kept;
use crate::cache::object::lookup;
use crate::cache::object::resize;
use crate::cache::object::Object;
use crate::cache::object::{commit, invalidate};
use crate::cache::volume::Volume;
use crate::cache::Cache;
use crate::io;
use crate::marker::Cachefiles;
use cachefiles_trace::RefWhy;
use fscache::{
    Backend, Begin, Begun, Cookie, Invalidation, IoSource, LookupSlot, Prepared, ReadHole,
    ReadOperation, Resources, SubreqFlags, VolumeHandle, WantState, WriteLimits, WriteOperation,
    WriteSubrequest,
};
use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel_ext::log::span;

impl Backend for Cachefiles {
    const NAME: &'static kernel::str::CStr = kernel::c_str!("cachefiles");
    type Cache = Cache;
    type Volume = Volume;
    type Object = Object;

    fn acquire_volume(cache: ArcBorrow<'_, Cache>, volume: VolumeHandle) -> Option<Arc<Volume>> {
        let _span = span!("acquire_volume", "V={:x}", volume.debug_id());
        // A failure is logged there; netfs goes on without a cache.
        Volume::acquire(&cache.into(), volume).ok()
    }

    fn volume_attached(cache: ArcBorrow<'_, Cache>, volume: &Arc<Volume>) -> Result {
        cache.add_volume(volume)
    }

    fn free_volume(volume: Arc<Volume>) {
        let _span = span!("free_volume", "V={:x}", volume.debug_id());
        let cache = volume.cache().clone();
        cache.remove_volume(&volume);
        drop(volume);
        kept::volume_gone(&cache);
    }

    fn lookup_cookie(
        cache: ArcBorrow<'_, Cache>,
        volume: Option<ArcBorrow<'_, Volume>>,
        cookie: &Cookie,
        slot: LookupSlot<'_, Self>,
    ) -> bool {
        let _span = span!("lookup_cookie", "c={:08x}", cookie.debug_id());
        let Some(volume) = volume else { return false };
        // Operations on what could not be looked up then begin, and fail.
        let needs_operations = needs_operations(&cache, cookie);
        let object = loop {
            match Object::new(&volume.into(), cookie) {
                Ok(object) => break object,
                // Workers are not killed for want of memory: there will be some again.
                Err(error) if error == ENOMEM && needs_operations => kernel_ext::task::sleep(1),
                Err(_) => return false,
            }
        };
        let lookup = slot.attach(object.clone());

        let found = cache.secure(|| lookup::look_up(&object, &lookup));
        if found.is_err() {
            object.trace_ref(RefWhy::SeeLookupFailed);
            if needs_operations {
                object.set_missing();
            }
            object.lookup.end();
        }
        found.is_ok() || needs_operations
    }

    fn withdraw_cookie(cookie: &Cookie, object: ArcBorrow<'_, Object>) {
        let _span = span!("withdraw_cookie", "c={:08x}", cookie.debug_id());
        let object: Arc<Object> = object.into();
        let cache = object.cache();
        object.trace_ref(RefWhy::SeeWithdrawCookie);
        if cache.remove_object(&object) {
            object.trace_ref(RefWhy::SeeWithdrawal);
        }
        if let Some(engine) = object.engine() {
            engine.drop_object(&object);
        }
        cache.secure(|| commit::clean_up(&object));
        object.trace_put(RefWhy::PutDetach);
    }

    fn invalidate_cookie(
        cookie: &Cookie,
        object: ArcBorrow<'_, Object>,
        invalidation: Invalidation<'_>,
    ) -> bool {
        let _span = span!("invalidate_cookie", "c={:08x}", cookie.debug_id());
        invalidate::invalidate(&object.into(), invalidation)
    }

    #[inline]
    fn begin_operation(resources: &mut Resources<'_, Self>, want: WantState) -> Begin {
        let _span = span!("begin_operation", "{want:?}");
        io::begin(resources, want)
    }

    fn resize_cookie(resources: &mut Resources<'_, Self>, new_size: u64) {
        let _span = span!("resize_cookie", "{new_size:x}");
        if let Some(object) = resources.object() {
            resize::resize(&object, resources.file(), new_size);
        }
    }

    fn prepare_to_write(cookie: &Cookie, object: ArcBorrow<'_, Object>) {
        let _span = span!("prepare_to_write", "c={:08x}", cookie.debug_id());
        object.cache().secure(|| {
            if crate::cache::coherency::mark_dirty(&object).is_err() {
                // What it says of the data is about to be wrong.
                if let Some(file) = object.file() {
                    crate::cache::coherency::remove_object(&object, &file);
                }
            }
        });
    }

    #[inline]
    fn read<'op>(
        mut operation: ReadOperation<'op, Self>,
        start: i64,
        hole: ReadHole,
    ) -> Begun<'op> {
        let _span = span!(
            "read",
            "{start:x},{:x},{hole:?}",
            operation.parts().1.count()
        );
        io::read(operation, start, hole)
    }

    #[inline]
    fn write<'op>(mut operation: WriteOperation<'op, Self>, start: i64) -> Begun<'op> {
        let _span = span!("write", "{start:x},{:x}", operation.parts().1.count());
        io::write(operation, start)
    }

    #[inline]
    fn prepare_read(
        resources: &mut Resources<'_, Self>,
        start: i64,
        len: &mut usize,
        i_size: i64,
        flags: &mut SubreqFlags<'_>,
        ino: u64,
    ) -> IoSource {
        let _span = span!("prepare_read", "{start:x},{len:x},{i_size:x}");
        io::prepare_read(resources, start, len, i_size, flags, ino)
    }

    fn prepare_write(
        resources: &mut Resources<'_, Self>,
        start: i64,
        len: &mut usize,
        upper_len: usize,
        no_space_allocated_yet: bool,
    ) -> Result {
        let _span = span!("prepare_write", "{start:x},{len:x},{upper_len:x}");
        io::prepare_write(resources, start, len, upper_len, no_space_allocated_yet)
    }

    fn prepare_write_subreq(resources: &mut Resources<'_, Self>) -> Option<WriteLimits> {
        let _span = span!("prepare_write_subreq");
        io::prepare_write_subreq(resources)
    }

    fn issue_write(write: WriteSubrequest<'_, Self>) {
        let _span = span!("issue_write", "{:x},{:x}", write.start(), write.len());
        io::issue_write(write);
    }

    #[inline]
    fn prepare_ondemand_read(
        resources: &mut Resources<'_, Self>,
        start: i64,
        len: usize,
        flags: &mut SubreqFlags<'_>,
        ino: u64,
    ) -> Result<Prepared> {
        let _span = span!("prepare_ondemand_read", "{start:x},{len:x}");
        io::prepare_ondemand_read(resources, start, len, flags, ino)
    }

    fn query_occupancy(
        resources: &mut Resources<'_, Self>,
        start: i64,
        len: usize,
        granularity: usize,
    ) -> Result<(i64, usize)> {
        let _span = span!("query_occupancy", "{start:x},{len:x},{granularity:x}");
        io::query_occupancy(resources, start, len, granularity)
    }
}

/// Returns whether the owner of a cookie cannot cope with an operation that does not begin: EROFS,
/// which alone takes the size from the cache, uses a freed bio then where an image is compressed.
///
/// In on-demand caches only, as they are not withdrawn while they are in use: nobody has to take
/// an object without a file away from its owner.
fn needs_operations(cache: &Cache, cookie: &Cookie) -> bool {
    cache.ondemand().is_some() && cookie.wants_cache_size()
}
