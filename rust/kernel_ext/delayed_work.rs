// SPDX-License-Identifier: GPL-2.0

//! Delayed work: a function that a kernel worker calls after some time.
//!
//! C header: `include/linux/workqueue.h`

use cachefiles_bindings as bindings;
use core::mem::size_of;
use core::ptr::{from_ref, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};
use kernel::container_of;
use kernel::prelude::*;
use kernel::sync::{Arc, LockClassKey};
use kernel::types::Opaque;

/// A type with a [`DelayedWork`] as a field.
pub trait Delayed: Send + Sync + Sized + 'static {
    /// Does the work. Runs on a kernel worker, and may sleep. Never runs twice at a time.
    fn run(this: Arc<Self>);
}

/// A field of a `T` in an [`Arc`], by which [`Delayed::run`] is queued for later (`struct
/// delayed_work`).
///
/// # Examples
///
/// A session that ends by itself unless it is used:
///
/// ```
/// use core::sync::atomic::{AtomicBool, Ordering};
/// use kernel::prelude::*;
/// use kernel::sync::Arc;
/// use kernel_ext::delayed_work::{Delayed, DelayedWork};
/// use kernel_ext::task::ticks;
///
/// #[pin_data]
/// struct Session {
///     ended: AtomicBool,
///     #[pin]
///     end: DelayedWork<Self>,
/// }
///
/// impl Delayed for Session {
///     fn run(this: Arc<Self>) {
///         this.ended.store(true, Ordering::Relaxed);
///     }
/// }
///
/// let session = Arc::pin_init(
///     pin_init!(Session {
///         ended: AtomicBool::new(false),
///         end <- DelayedWork::new(kernel::static_lock_class!()),
///     }),
///     GFP_KERNEL,
/// )?;
/// session.end.start(&session, ticks(60))?;
/// // Used: from now on it is an hour.
/// session.end.start(&session, ticks(3600))?;
/// // Closed. That it was queued means that it has not run, and will not.
/// assert!(session.end.cancel_sync());
/// assert!(!session.end.cancel_sync());
/// assert!(!session.ended.load(Ordering::Relaxed));
/// ```
///
/// # Invariants
///
/// - `inner` is an initialised `struct delayed_work`, whose function is `run::<T>`.
/// - From the first time that it is queued, `owner` is the address of the `T` that this is a part
///   of, as [`Arc::into_raw`] gives it. While it is queued, a reference to that is the queue's.
#[pin_data]
pub struct DelayedWork<T> {
    #[pin]
    inner: Opaque<bindings::delayed_work>,
    owner: AtomicPtr<T>,
}

// SAFETY: Work has locks of its own and belongs to no thread; it hands a `T` to another thread.
unsafe impl<T: Send + Sync> Send for DelayedWork<T> {}
// SAFETY: Every function on work may be called by any thread at any time, and `owner` is atomic.
unsafe impl<T: Send + Sync> Sync for DelayedWork<T> {}

impl<T: Delayed> DelayedWork<T> {
    /// Creates work that is not queued. The class is that by which lockdep tells it from other
    /// work, which it may wait for.
    pub fn new(class: &'static LockClassKey) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised by the C function.
            // SAFETY: `slot` is valid for writes, and pinned from here on. The class is static, and
            // a `LockClassKey` is a transparent wrapper of the one of C.
            inner <- Opaque::ffi_init(move |slot| unsafe {
                let class = from_ref(class).cast_mut().cast();
                bindings::cfh_init_delayed_work(slot, Some(run::<T>), class)
            }),
            owner: AtomicPtr::new(null_mut()),
        })
    }

    /// Queues the work to run after `ticks` of the kernel's clock; if it is queued already, its
    /// time changes to that (`mod_delayed_work()`). Any context. Of two calls at the same time
    /// either may win, and beside [`cancel_sync`](Self::cancel_sync) the work may not be queued at
    /// all.
    ///
    /// Error: EINVAL, this is not a field of `owner`.
    pub fn start(&self, owner: &Arc<T>, ticks: usize) -> Result {
        let (work, whole) = (from_ref(self) as usize, from_ref(&**owner) as usize);
        let end = whole.saturating_add(size_of::<T>());
        if work < whole || work.saturating_add(size_of::<Self>()) > end {
            return Err(EINVAL);
        }
        let reference = Arc::into_raw(owner.clone());
        // INVARIANT: `self` lies in the value that `owner` points to, as was just checked; and two
        // values of type `T` do not overlap, so it is the same one each time.
        self.owner.store(reference.cast_mut(), Ordering::Release);
        // SAFETY: Initialised, by the type invariant.
        if unsafe { bindings::cancel_delayed_work(self.inner.get()) } {
            // SAFETY: It was queued and now is not, so the queue's reference is ours. (It is not
            // the last one: there is `owner`.)
            drop(unsafe { Arc::from_raw(reference) });
        }
        // INVARIANT: `reference` is the queue's, if it is queued now.
        // SAFETY: Initialised, by the type invariant. It stays where it is until the worker has
        // begun, as it lies in what the queue has a reference to.
        if !unsafe { bindings::cfh_queue_delayed_work(self.inner.get(), ticks) } {
            // SAFETY: The queue did not take it.
            drop(unsafe { Arc::from_raw(reference) });
        }
        Ok(())
    }

    /// Cancels the work if it is queued, and waits for it if it runs. Returns whether it was
    /// queued. Sleeps.
    ///
    /// Must not be called by the work itself, nor with a lock held that the work takes.
    pub fn cancel_sync(&self) -> bool {
        // SAFETY: Initialised, by the type invariant.
        let was_queued = unsafe { bindings::cancel_delayed_work_sync(self.inner.get()) };
        if was_queued {
            // SAFETY: It was queued and now is not, so the queue's reference is ours; and as it was
            // queued, `owner` is set. What `self` is borrowed from keeps another reference.
            drop(unsafe { Arc::from_raw(self.owner.load(Ordering::Acquire).cast_const()) });
        }
        was_queued
    }
}

/// Runs the work; the function that workers call.
///
/// # Safety
///
/// `work` is that of a `DelayedWork<T>`, which was queued and has just been taken off the queue.
unsafe extern "C" fn run<T: Delayed>(work: *mut bindings::work_struct) {
    // SAFETY: `work` is a field of a `delayed_work`, by the caller's promise.
    let inner = unsafe { container_of!(work, bindings::delayed_work, work) };
    // SAFETY: That is the field `inner` of a `DelayedWork<T>`, by the caller's promise; `Opaque` is
    // transparent.
    let this = unsafe { container_of!(inner, DelayedWork<T>, inner) };
    // SAFETY: It lies in a `T` to which the queue's reference is still there.
    let owner = unsafe { (*this).owner.load(Ordering::Acquire) };
    // SAFETY: It was queued, so `owner` is set, and the queue's reference is now ours.
    T::run(unsafe { Arc::from_raw(owner.cast_const()) });
}
