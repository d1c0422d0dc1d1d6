// SPDX-License-Identifier: GPL-2.0

//! A cache back end that keeps nothing, but knows what it was asked for.

use crate::live_count::{Counted, LiveCount};
use core::sync::atomic::{AtomicU32, Ordering};
use fscache::{
    AcquiredCache, Backend, Begin, Begun, Cookie, CookieFlag, CookieRef, Invalidation, IoSource,
    LookupSlot, Prepared, ReadHole, ReadOperation, Resources, SubreqFlags, VolumeHandle, WantState,
    WriteLimits, WriteOperation, WriteSubrequest,
};
use kernel::prelude::*;
use kernel::str::{CStr, CString};
use kernel::sync::{Arc, ArcBorrow};
use kernel::types::ARef;
use kernel_ext::errno::{ENOBUFS, ENODATA};
use kernel_ext::fs::File;
use kernel_ext::sync::{Completion, SetOnce};
use kunit::{wait_until, NetVolume, Outcome, SpinCell};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Nothing,
    /// A volume is refused when it is acquired.
    RefuseVolume,
    /// A volume is refused when it is to be listed.
    RefuseListing,
    /// A cookie is not found.
    FindNothing,
    /// A cookie has an object, but something fails then.
    FailLater,
    /// A volume that is freed waits until it is let go.
    FreeSlowly,
    /// An invalidation is said to be done, and I/O does not go on.
    ForgetToResume,
    /// No operation is begun.
    RefuseOperation,
    /// Operations begin, to fail.
    FailOperation,
    /// A read fails.
    FailRead,
    /// A read is deferred, and resumed before its call returns.
    DeferRead,
    /// A read is deferred, and dropped.
    DropRead,
}

/// How often something was asked for.
#[derive(Default)]
pub(crate) struct Count(AtomicU32);

impl Count {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The back end. Those of other numbers are others.
pub(crate) struct Store<const N: u8>;

pub(crate) struct Cache {
    plan: Plan,
    /// Called when a cookie is looked up; what comes of it is kept.
    inspect: fn(&Cookie) -> Outcome,
    pub(crate) inspected: SetOnce<Outcome>,
    /// Volumes and objects.
    pub(crate) live: LiveCount,
    pub(crate) volume: SetOnce<VolumeHandle>,
    pub(crate) cookie: SpinCell<CookieRef>,
    pub(crate) file: SpinCell<ARef<File>>,
    pub(crate) looked_up: Count,
    pub(crate) withdrawn: Count,
    pub(crate) withdrawn_retired: Count,
    pub(crate) invalidated: Count,
    pub(crate) prepared: Count,
    pub(crate) ended: Count,
    pub(crate) freeing: Count,
    /// What a slow end of a volume waits for.
    pub(crate) let_go: Arc<Completion>,
    _counted: Counted,
}

pub(crate) struct Volume {
    cache: Arc<Cache>,
    _counted: Counted,
}

pub(crate) struct Object {
    cache: Arc<Cache>,
    _counted: Counted,
}

impl<const N: u8> Backend for Store<N> {
    const NAME: &'static CStr = kernel::c_str!("kunit");
    type Cache = Cache;
    type Volume = Volume;
    type Object = Object;

    fn acquire_volume(cache: ArcBorrow<'_, Cache>, volume: VolumeHandle) -> Option<Arc<Volume>> {
        cache.volume.populate(volume);
        if cache.plan == Plan::RefuseVolume {
            return None;
        }
        let volume = Volume {
            cache: cache.into(),
            _counted: cache.live.one_more(),
        };
        Arc::new(volume, GFP_KERNEL).ok()
    }

    fn volume_attached(cache: ArcBorrow<'_, Cache>, _: &Arc<Volume>) -> Result {
        if cache.plan == Plan::RefuseListing {
            return Err(ENOSPC);
        }
        Ok(())
    }

    fn free_volume(volume: Arc<Volume>) {
        volume.cache.freeing.add();
        if volume.cache.plan == Plan::FreeSlowly {
            // Nobody kills those who come here.
            let _ = volume.cache.let_go.wait_killable();
        }
        drop(volume);
    }

    fn lookup_cookie(
        cache: ArcBorrow<'_, Cache>,
        volume: Option<ArcBorrow<'_, Volume>>,
        cookie: &Cookie,
        slot: LookupSlot<'_, Self>,
    ) -> bool {
        cache.looked_up.add();
        cache.inspected.populate((cache.inspect)(cookie));
        if cache.plan == Plan::FindNothing || volume.is_none() {
            return false;
        }
        let kept = Arc::new(cookie.get(), GFP_KERNEL);
        let object = Object {
            cache: cache.into(),
            _counted: cache.live.one_more(),
        };
        let (Ok(kept), Ok(object)) = (kept, Arc::new(object, GFP_KERNEL)) else {
            return false;
        };
        cache.cookie.set(Some(kept));
        let _ = slot.attach(object);
        cache.plan != Plan::FailLater
    }

    fn withdraw_cookie(cookie: &Cookie, object: ArcBorrow<'_, Object>) {
        let cache = &object.cache;
        if cookie.test_flag(CookieFlag::Retired) {
            cache.withdrawn_retired.add();
        }
        cache.withdrawn.add();
    }

    fn invalidate_cookie(
        _: &Cookie,
        object: ArcBorrow<'_, Object>,
        invalidation: Invalidation<'_>,
    ) -> bool {
        object.cache.invalidated.add();
        if object.cache.plan != Plan::ForgetToResume {
            invalidation.resume();
        }
        true
    }

    fn prepare_to_write(_: &Cookie, object: ArcBorrow<'_, Object>) {
        object.cache.prepared.add();
    }

    fn resize_cookie(_: &mut Resources<'_, Self>, _: u64) {}

    fn begin_operation(resources: &mut Resources<'_, Self>, _: WantState) -> Begin {
        let Some(object) = resources.object() else {
            return Begin::Refused;
        };
        match object.cache.plan {
            Plan::RefuseOperation => return Begin::Refused,
            Plan::FailOperation => return Begin::Failed(EXDEV),
            _ => {}
        }
        if let Some(file) = object.cache.file.get() {
            // The second one is not needed.
            resources.set_file((*file).clone());
            resources.set_file((*file).clone());
        }
        Begin::Begun
    }

    fn end_operation(resources: &mut Resources<'_, Self>) {
        if let Some(object) = resources.object() {
            object.cache.ended.add();
        }
    }

    /// Reads zeros, up to the end of the buffer.
    fn read<'op>(mut operation: ReadOperation<'op, Self>, _: i64, _: ReadHole) -> Begun<'op> {
        let (resources, _) = operation.parts();
        let plan = resources.object().map(|object| object.cache.plan);
        match plan {
            Some(Plan::FailRead) => operation.fail(EIO),
            Some(plan @ (Plan::DeferRead | Plan::DropRead)) => match operation.defer() {
                Ok((mut pending, begun)) => {
                    if plan == Plan::DeferRead && pending.resources().object().is_some() {
                        pending.resume(clear);
                    }
                    begun
                }
                Err(operation) => clear(operation),
            },
            _ => clear(operation),
        }
    }

    fn write<'op>(operation: WriteOperation<'op, Self>, _: i64) -> Begun<'op> {
        operation.fail(EIO)
    }

    fn prepare_read(
        _: &mut Resources<'_, Self>,
        _: i64,
        _: &mut usize,
        _: i64,
        _: &mut SubreqFlags<'_>,
        _: u64,
    ) -> IoSource {
        IoSource::DownloadFromServer
    }

    fn prepare_write(
        _: &mut Resources<'_, Self>,
        _: i64,
        _: &mut usize,
        _: usize,
        _: bool,
    ) -> Result {
        Err(ENOBUFS)
    }

    fn prepare_write_subreq(_: &mut Resources<'_, Self>) -> Option<WriteLimits> {
        None
    }

    fn issue_write(write: WriteSubrequest<'_, Self>) {
        write.terminate(EIO.to_errno() as isize);
    }

    fn prepare_ondemand_read(
        _: &mut Resources<'_, Self>,
        _: i64,
        _: usize,
        _: &mut SubreqFlags<'_>,
        _: u64,
    ) -> Result<Prepared> {
        Err(ENODATA)
    }

    fn query_occupancy(
        _: &mut Resources<'_, Self>,
        _: i64,
        _: usize,
        _: usize,
    ) -> Result<(i64, usize)> {
        Err(ENODATA)
    }
}

/// Reads zeros.
fn clear<'op, const N: u8>(mut operation: ReadOperation<'op, Store<N>>) -> Begun<'op> {
    let (_, iter) = operation.parts();
    let bytes = iter.zero(iter.count());
    operation.finish(bytes as isize)
}

/// What the tests of fscache call their cache.
pub(crate) const CACHE: &CStr = kernel::c_str!("kunit");

/// A cache that is added, and what its back end knows.
pub(crate) struct Bench {
    pub(crate) acquired: Arc<AcquiredCache>,
    pub(crate) cache: Arc<Cache>,
    /// Caches that are added.
    pub(crate) caches: LiveCount,
}

impl Bench {
    pub(crate) fn new(plan: Plan) -> Outcome<Self> {
        Self::inspecting(plan, |_| Ok(()))
    }

    pub(crate) fn inspecting(plan: Plan, inspect: fn(&Cookie) -> Outcome) -> Outcome<Self> {
        let caches = LiveCount::new()?;
        let bench = Self {
            acquired: Arc::new(AcquiredCache::acquire(CACHE)?, GFP_KERNEL)?,
            cache: new_cache(&caches, plan, inspect)?,
            caches,
        };
        bench.acquired.add::<Store<0>>(bench.cache.clone())?;
        Ok(bench)
    }

    /// A volume of this cache that no other test has.
    pub(crate) fn volume(&self, coherency: &[u8]) -> Outcome<NetVolume> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let key = CString::try_from_fmt(format_args!("kunit,volume-{number}"))?;
        Ok(NetVolume::acquire(&key, CACHE, coherency)?)
    }

    /// The back end's way to the volume, once it has been asked.
    pub(crate) fn handle(&self) -> Outcome<&VolumeHandle> {
        wait_until("the volume to be acquired", || {
            self.cache.volume.as_ref().is_some()
        })?;
        self.cache.volume.as_ref().ok_or_else(|| EIO.into())
    }

    /// Waits until nothing is attached to the cache any more.
    pub(crate) fn wait_until_empty(&self) -> Outcome {
        self.cache.cookie.set(None);
        wait_until("volumes and objects to be gone", || {
            self.cache.live.alive() == 0
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.cache.let_go.complete_all();
        // Where it fails, the cache says so when it is given up.
        let _ = self.wait_until_empty();
        self.acquired.relinquish();
    }
}

pub(crate) fn new_cache(
    caches: &LiveCount,
    plan: Plan,
    inspect: fn(&Cookie) -> Outcome,
) -> Outcome<Arc<Cache>> {
    let cache = Cache {
        plan,
        inspect,
        inspected: SetOnce::new(),
        live: LiveCount::new()?,
        volume: SetOnce::new(),
        cookie: SpinCell::new(),
        file: SpinCell::new(),
        looked_up: Count::default(),
        withdrawn: Count::default(),
        withdrawn_retired: Count::default(),
        invalidated: Count::default(),
        prepared: Count::default(),
        ended: Count::default(),
        freeing: Count::default(),
        let_go: Arc::pin_init(Completion::new(), GFP_KERNEL)?,
        _counted: caches.one_more(),
    };
    Ok(Arc::new(cache, GFP_KERNEL)?)
}
