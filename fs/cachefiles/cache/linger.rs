// SPDX-License-Identifier: GPL-2.0

//! On-demand caches that wait for their next daemon.
//!
//! When nobody has the device any more, a cache that was told to linger stays as it is for some
//! time: the engine is alive, and all who need the daemon wait. What kept it bound is in the list
//! of `kept` until then. The next daemon takes it from there; or else the delayed work does, when
//! the time is over, and ends the cache as the close of the device would have done. Whoever comes
//! first to the lock of that list has it.

use super::kept;
use super::pin::Pin;
use super::Cache;
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::sync::Arc;
use kernel_ext::delayed_work::{Delayed, DelayedWork};
use kernel_ext::module::ModuleRef;
use kernel_ext::{params, task};

/// No number of seconds.
const UNTOLD: u32 = u32::MAX;

/// How long a cache waits for its next daemon, in seconds: as it was told, or else as the module's
/// parameter says when the device is closed.
pub(crate) struct Patience(AtomicU32);

impl Patience {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(UNTOLD))
    }

    /// Sets it; `None` leaves it to the parameter.
    pub(crate) fn set(&self, seconds: Option<u32>) {
        self.0.store(seconds.unwrap_or(UNTOLD), Ordering::Relaxed);
    }

    fn seconds(&self) -> u32 {
        match self.0.load(Ordering::Relaxed) {
            UNTOLD => params::linger(),
            seconds => seconds,
        }
    }
}

/// Has a cache wait for its next daemon, as the device is closed. False if it is not to, or is dead
/// or of the original mode: then it is for the caller to end.
pub(crate) fn begin(pin: &Arc<Pin>) -> bool {
    let cache = pin.cache();
    let seconds = cache.patience.seconds();
    if seconds == 0 || cache.is_dead() || !kept::linger(pin, task::ticks(seconds)) {
        return false;
    }
    kernel_ext::log::info!(
        "File cache on {} has lost its daemon: waits {} s for the next",
        cache.fscache.name(),
        seconds
    );
    // The device can be opened once the caller has dropped its own claim.
    pin.give_up_claim();
    true
}

/// Stops the clock of a cache that was taken over. Sleeps.
pub(crate) fn stop(cache: &Cache) {
    cache.expiry.cancel_sync();
}

/// Starts the clock of a cache. False: it is not in an `Arc`, which cannot be.
pub(super) fn start(cache: &Arc<Cache>, ticks: usize) -> bool {
    cache.expiry.start(cache, ticks).is_ok()
}

/// The delayed work of a cache.
pub(super) type Expiry = DelayedWork<Cache>;

impl Delayed for Cache {
    /// Ends a cache for which no daemon came in time.
    fn run(cache: Arc<Cache>) {
        // The cache's own reference to the module goes while this still runs. From the end of this
        // one on nothing sleeps any more, so that the module's exit waits for us.
        let module = ModuleRef::take();
        if let Some(pin) = kept::expire(&cache) {
            kernel_ext::log::info!(
                "File cache on {}: no daemon has come in time",
                cache.fscache.name()
            );
            cache.kill();
            let gone = cache.gone().clone();
            drop(cache);
            // The cache is withdrawn or kept by this, unless somebody still has an anonymous fd.
            drop(pin);
            kept::expired(&gone);
            drop(gone);
        } else {
            drop(cache);
        }
        drop(module);
    }
}
