// SPDX-License-Identifier: GPL-2.0

//! Caches, from the reservation of a name to its release.
//!
//! C header: [`include/linux/fscache-cache.h`](srctree/include/linux/fscache-cache.h)
//! (`struct fscache_cache`).

use crate::{ops::CacheOps, use_count::UseCount, Backend};
use cachefiles_bindings as bindings;
use core::{
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering},
};
use kernel::{
    alloc::flags::GFP_KERNEL,
    error::{
        code::{EBUSY, EINVAL},
        from_err_ptr, to_result, Result,
    },
    ffi::c_void,
    prelude::*,
    str::{CStr, CString},
    sync::{new_mutex, Arc, Mutex},
};
use kernel_ext::module::ModuleRef;

/// The phase of life of a cache.
enum Phase {
    /// Its name is reserved.
    Acquired,
    /// fscache uses it.
    Added(Private),
    /// No access begins any more.
    Withdrawn(Private),
    /// It is relinquished.
    Relinquished,
}

/// The owned pointer in `cache_priv`, whose type only `drop` knows.
struct Private {
    ptr: NonNull<c_void>,
    drop: unsafe fn(NonNull<c_void>),
    /// Keeps the code, as fscache may call it. Dropped last.
    _module: ModuleRef,
}

// SAFETY: It stands for a `KBox<CachePrivate<B>>`, and what is in that is `Send`.
unsafe impl Send for Private {}

/// The state that all holders of a part of the cache share.
#[pin_data]
struct Shared {
    /// Valid while `users` is open, and while there are objects or attachments.
    raw: NonNull<bindings::fscache_cache>,
    name: CString,
    users: UseCount,
    /// Objects counted by an [`ObjectCount`].
    objects: AtomicUsize,
    /// Volumes and cookies with an attachment of the backend.
    attached: AtomicUsize,
    /// Attachments that are being freed.
    leaving: AtomicUsize,
    /// Held while sleeping.
    #[pin]
    phase: Mutex<Phase>,
}

// SAFETY: The pointer is used by the rules of the fields; what it points to is C's, which locks it.
unsafe impl Send for Shared {}
// SAFETY: All that shared access does to the cache is what C allows any thread to do at any time;
// the rest is atomic or behind a lock.
unsafe impl Sync for Shared {}

/// The data of a cache, to which `fscache_cache::cache_priv` points.
pub(crate) struct CachePrivate<B: Backend> {
    data: Arc<B::Cache>,
    shared: Arc<Shared>,
}

impl<B: Backend> CachePrivate<B> {
    /// Returns the backend's own cache.
    #[inline]
    pub(crate) fn data(&self) -> &Arc<B::Cache> {
        &self.data
    }

    /// Counts an attachment that is about to be made.
    #[inline]
    pub(crate) fn attach(&self) {
        self.shared.attached.fetch_add(1, Ordering::Relaxed);
    }

    /// Moves an attachment from the attached to the leaving ones. The cache is not relinquished
    /// before the result is dropped, so that the attachment can be freed.
    #[inline]
    pub(crate) fn detach(&self) -> Leaving {
        // In this order: a task that no longer sees it attached sees it leaving.
        self.shared.leaving.fetch_add(1, Ordering::Relaxed);
        self.shared.attached.fetch_sub(1, Ordering::Release);
        // INVARIANT: Counted just now.
        Leaving(self.shared.clone())
    }

    /// # Safety
    ///
    /// `ptr` came out of a `KBox` of this type, which nobody uses any more.
    unsafe fn drop_raw(ptr: NonNull<c_void>) {
        // SAFETY: By the caller's promise.
        drop(unsafe { KBox::from_raw(ptr.cast::<Self>().as_ptr()) });
    }
}

/// An attachment that is being freed. The cache may be freed once this is dropped.
///
/// # Invariants
///
/// It is counted in `Shared::leaving`.
#[must_use = "the cache may be relinquished when this is dropped"]
pub(crate) struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    #[inline]
    fn drop(&mut self) {
        self.0.leaving.fetch_sub(1, Ordering::Release);
    }
}

/// A cache that fscache knows by its name.
///
/// Dropping it withdraws and relinquishes the cache. A backend that keeps it inside the data that
/// it gives to [`AcquiredCache::add`] has a reference cycle, and has to call
/// [`AcquiredCache::relinquish`].
pub struct AcquiredCache {
    shared: Arc<Shared>,
}

impl AcquiredCache {
    /// Reserves the name `tag`.
    ///
    /// Errors: `EBUSY` if there is a cache of that name already; `ENOMEM`.
    pub fn acquire(tag: &CStr) -> Result<Self> {
        let name = CString::try_from(tag)?;
        // SAFETY: `tag` is a NUL-terminated string.
        let raw = from_err_ptr(unsafe { bindings::fscache_acquire_cache(tag.as_char_ptr()) })?;
        let raw = NonNull::new(raw).ok_or(EINVAL)?;
        Arc::pin_init(
            pin_init!(Shared {
                raw,
                name,
                users: UseCount::new(),
                objects: AtomicUsize::new(0),
                attached: AtomicUsize::new(0),
                leaving: AtomicUsize::new(0),
                phase <- new_mutex!(Phase::Acquired, "fscache_phase"),
            }),
            GFP_KERNEL,
        )
        .map(|shared| Self { shared })
        .inspect_err(|_| {
            // SAFETY: It was acquired by this function, and nobody else knows of it.
            unsafe { bindings::fscache_relinquish_cache(raw.as_ptr()) };
        })
    }

    /// Lets network file systems use the cache, and keeps `data` until it is relinquished. The
    /// module cannot be unloaded until then.
    ///
    /// Errors: `EBUSY` if it was added before; `ENODEV` the module is being unloaded; `ENOMEM`.
    pub fn add<B: Backend>(&self, data: Arc<B::Cache>) -> Result {
        let mut phase = self.shared.phase.lock();
        if !matches!(*phase, Phase::Acquired) {
            return Err(EBUSY);
        }
        let module = ModuleRef::take()?;
        let private = KBox::new(
            CachePrivate::<B> {
                data,
                shared: self.shared.clone(),
            },
            GFP_KERNEL,
        )?;
        let private = Private {
            ptr: NonNull::from(KBox::leak(private)).cast(),
            drop: CachePrivate::<B>::drop_raw,
            _module: module,
        };
        // SAFETY: The cache is ours and being prepared; the table lives for ever, and `ptr` until
        // after the cache was relinquished.
        let ret = unsafe {
            bindings::fscache_add_cache(
                self.shared.raw.as_ptr(),
                CacheOps::<B>::table(),
                private.ptr.as_ptr(),
            )
        };
        if let Err(error) = to_result(ret) {
            // SAFETY: fscache did not take it.
            unsafe { (private.drop)(private.ptr) };
            return Err(error);
        }
        *phase = Phase::Added(private);
        Ok(())
    }

    /// Withdraws the cache: no access to it or to its volumes begins any more. Waits for volumes
    /// that are being acquired.
    ///
    /// Does nothing for a cache that was not added, or was withdrawn before.
    pub fn withdraw(&self) {
        let mut phase = self.shared.phase.lock();
        *phase = match core::mem::replace(&mut *phase, Phase::Relinquished) {
            Phase::Added(private) => {
                // SAFETY: The cache is ours, was added and not withdrawn yet.
                unsafe { bindings::fscache_withdraw_cache(self.shared.raw.as_ptr()) };
                Phase::Withdrawn(private)
            }
            other => other,
        };
    }

    /// Waits until all objects are gone, that is, every [`ObjectCount`].
    ///
    /// Does nothing for a cache that was relinquished.
    pub fn wait_for_objects(&self) {
        let phase = self.shared.phase.lock();
        if !matches!(*phase, Phase::Relinquished) {
            // SAFETY: The cache is not relinquished, and cannot be while the phase is locked.
            unsafe { bindings::cfh_fscache_wait_for_objects(self.shared.raw.as_ptr()) };
        }
    }

    /// Marks the cache as unusable after an I/O error: no access begins any more. Any context.
    pub fn io_error(&self) {
        self.shared.users.while_open(|| {
            // SAFETY: The cache is not relinquished during a use.
            unsafe { bindings::fscache_io_error(self.shared.raw.as_ptr()) };
        });
    }

    /// Returns the name.
    #[inline]
    pub fn name(&self) -> &CStr {
        &self.shared.name
    }

    /// Counts an object that uses the cache, as long as the result lives. Any context.
    pub fn count_object(&self) -> ObjectCount {
        let shared = self.shared.users.while_open(|| {
            self.shared.objects.fetch_add(1, Ordering::Relaxed);
            // SAFETY: The cache is not relinquished during a use.
            unsafe { bindings::cfh_fscache_count_object(self.shared.raw.as_ptr()) };
            self.shared.clone()
        });
        // INVARIANT: It was counted in both places just now.
        ObjectCount(shared)
    }

    /// Relinquishes the cache and its name, after withdrawing it if that was not done. Drops the
    /// data that [`AcquiredCache::add`] was given.
    ///
    /// All objects have to be withdrawn and all volumes detached before; this drains those that are
    /// being freed. A cache with attachments left cannot be freed: its memory and its name are
    /// leaked, the module cannot be unloaded any more, and an error is logged.
    ///
    /// Does nothing the second time. Sleeps. Not to be called from a destructor of an attachment.
    pub fn relinquish(&self) {
        self.withdraw();
        let mut phase = self.shared.phase.lock();
        let private = match core::mem::replace(&mut *phase, Phase::Relinquished) {
            Phase::Relinquished => return,
            Phase::Acquired => None,
            Phase::Added(private) | Phase::Withdrawn(private) => Some(private),
        };
        self.shared.users.close();
        let objects = self.shared.objects.load(Ordering::Acquire);
        let attached = self.shared.attached.load(Ordering::Acquire);
        if objects != 0 || attached != 0 {
            kernel_ext::log::error!(
                "Cache {} is given up in use: {} objects, {} attached",
                self.name(),
                objects,
                attached
            );
            // fscache may still call us.
            core::mem::forget(private);
            return;
        }
        while self.shared.leaving.load(Ordering::Acquire) != 0 {
            kernel_ext::task::sleep(1);
        }
        // The last object may be on its way between its two counts.
        //
        // SAFETY: The cache is there: only this function relinquishes it, and has not done so yet.
        unsafe { bindings::cfh_fscache_wait_for_objects(self.shared.raw.as_ptr()) };
        // SAFETY: The cache is ours; `users` is closed, and nothing is attached or counted any
        // more, so nobody uses the pointer after this.
        unsafe { bindings::fscache_relinquish_cache(self.shared.raw.as_ptr()) };
        drop(phase);
        if let Some(private) = private {
            // SAFETY: fscache has dropped it just now, and callbacks that borrow it need something
            // attached or leaving, or an access that `withdraw()` waited for.
            unsafe { (private.drop)(private.ptr) };
        }
    }
}

impl Drop for AcquiredCache {
    fn drop(&mut self) {
        self.relinquish();
    }
}

/// A counted object, which keeps its cache from being relinquished.
///
/// May be dropped in any context.
///
/// # Invariants
///
/// If there is a cache in it, then the object is counted there: in `Shared::objects` and in
/// `fscache_cache::object_count`.
pub struct ObjectCount(Option<Arc<Shared>>);

impl Drop for ObjectCount {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            // Our own count first: when `wait_for_objects()` is over, both are 0.
            shared.objects.fetch_sub(1, Ordering::Release);
            // SAFETY: The object is counted (type invariant), and a cache is not relinquished
            // before fscache's count is 0.
            unsafe { bindings::cfh_fscache_uncount_object(shared.raw.as_ptr()) };
        }
    }
}
