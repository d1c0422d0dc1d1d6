// SPDX-License-Identifier: GPL-2.0

//! On-demand caches that outlive their daemon.
//!
//! When nobody holds the device and the anonymous fds any more, an on-demand cache in which there
//! are volumes is *kept*: the engine is dead and what is not cached fails with EIO, but fscache has
//! the cache as before, so that images that are mounted read what is cached. The next `bind
//! ondemand` of the same directory and tag takes the cache over. With its last volume a kept cache
//! is withdrawn, by a worker.
//!
//! EROFS depends on it: when an operation cannot begin because the cache is withdrawn, a read of a
//! compressed image corrupts memory there.
//!
//! One that was told to lingers before that: see `linger`.
//!
//! The stages of all on-demand caches are under one lock, and change only as [`Stage`] says.
//! Nothing sleeps under the lock but for memory.

use super::linger;
use super::pin::Pin;
use crate::cache::Cache;
use kernel::prelude::*;
use kernel::str::{CStr, CString};
use kernel::sync::Arc;
use kernel::workqueue::WorkItem;
use kernel_ext::fs::Dentry;
use kernel_ext::global::Global;
use kernel_ext::module::ModuleRef;
use kernel_ext::sync::Completion;

/// How far an on-demand cache is.
enum Stage {
    /// A daemon may come by the device or an anonymous fd. Next: lingering, kept, or ending.
    Bound,
    /// It waits for its next daemon. Next: bound, or expiring.
    Lingering(Arc<Pin>),
    /// Nobody came in time, and it is being killed. Next: kept, or ending; or bound, as long as
    /// somebody has an anonymous fd.
    Expiring,
    /// Only images are there. Next: bound, or ending.
    Kept(Arc<Cache>),
    /// It is withdrawn, and listed no more when that is over.
    Ending,
}

struct Listed {
    tag: CString,
    stage: Stage,
    /// Tells caches apart, and when one is gone.
    gone: Arc<Completion>,
}

type List = KVec<Option<Listed>>;

static CACHES: Global<List> = Global::new(KVec::new());

impl Listed {
    fn kept(&self) -> Option<&Arc<Cache>> {
        match &self.stage {
            Stage::Kept(cache) => Some(cache),
            Stage::Bound | Stage::Lingering(_) | Stage::Expiring | Stage::Ending => None,
        }
    }

    /// Returns the cache if a daemon may take it over.
    fn vacant(&self) -> Option<&Arc<Cache>> {
        match &self.stage {
            Stage::Kept(cache) => Some(cache),
            Stage::Lingering(pin) => Some(pin.cache()),
            Stage::Bound | Stage::Expiring | Stage::Ending => None,
        }
    }
}

/// A cache's place in the list. Part of the cache, and dropped last: then the cache is forgotten,
/// and the tasks that wait for that are woken.
pub(crate) struct Listing(Arc<Completion>);

impl Listing {
    pub(crate) fn new(gone: Arc<Completion>) -> Self {
        Self(gone)
    }

    pub(crate) fn gone(&self) -> &Arc<Completion> {
        &self.0
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        forget(&self.0);
    }
}

fn find<'a>(caches: &'a mut List, gone: &Arc<Completion>) -> Option<&'a mut Listed> {
    let mut listed = caches.iter_mut().flatten();
    listed.find(|listed| Arc::ptr_eq(&listed.gone, gone))
}

/// Lists a cache that is about to be bound. Error: ENOMEM.
pub(crate) fn list(cache: &Arc<Cache>) -> Result {
    let listed = Some(Listed {
        tag: cache.fscache.name().to_cstring()?,
        stage: Stage::Bound,
        gone: cache.gone().clone(),
    });
    let mut caches = CACHES.lock();
    match caches.iter_mut().find(|place| place.is_none()) {
        Some(place) => *place = listed,
        None => caches.push(listed, GFP_KERNEL)?,
    }
    Ok(())
}

/// Forgets a cache that is gone, and wakes the tasks that wait for that. Does nothing for one of
/// the original mode.
fn forget(gone: &Arc<Completion>) {
    let mut caches = CACHES.lock();
    let places = &mut caches.iter_mut();
    let place = places.find(|place| {
        let listed = place.as_ref();
        listed.is_some_and(|listed| Arc::ptr_eq(&listed.gone, gone))
    });
    let listed = place.and_then(Option::take);
    drop(caches);
    drop(listed);
    gone.complete_all();
}

/// Keeps a bound cache that no daemon can come by any more. False if it is to be withdrawn instead,
/// by the caller.
pub(crate) fn keep(cache: &Arc<Cache>) -> bool {
    let mut caches = CACHES.lock();
    let Some(listed) = find(&mut caches, cache.gone()) else {
        return false;
    };
    let is_kept = cache.has_volumes();
    listed.stage = if is_kept {
        Stage::Kept(cache.clone())
    } else {
        Stage::Ending
    };
    is_kept
}

/// Ends a kept cache with its last volume, after one is gone.
pub(crate) fn volume_gone(cache: &Arc<Cache>) {
    if cache.ondemand().is_none() {
        return;
    }
    let mut caches = CACHES.lock();
    let ends = find(&mut caches, cache.gone())
        .filter(|listed| listed.kept().is_some() && !cache.has_volumes())
        .map(|listed| core::mem::replace(&mut listed.stage, Stage::Ending));
    drop(caches);
    if ends.is_some() {
        // Not by fscache's own workers, one of which we may be: withdrawing waits for them. It
        // cannot be queued already, as a cache ends once.
        let _ = kernel::workqueue::system_unbound().enqueue(cache.clone());
    }
}

impl WorkItem for Cache {
    type Pointer = Arc<Cache>;

    /// Withdraws a kept cache.
    fn run(cache: Arc<Cache>) {
        // The cache's own reference to the module goes while this still runs. From the end of this
        // one on nothing sleeps any more, so that the module's exit waits for us.
        let module = ModuleRef::take();
        cache.withdraw();
        drop(cache);
        drop(module);
    }
}

/// Has a bound cache linger for so many ticks. False for one of the original mode.
pub(super) fn linger(pin: &Arc<Pin>, ticks: usize) -> bool {
    let mut caches = CACHES.lock();
    match find(&mut caches, pin.cache().gone()) {
        Some(listed) if linger::start(pin.cache(), ticks) => {
            listed.stage = Stage::Lingering(pin.clone());
            true
        }
        _ => false,
    }
}

/// Ends the lingering of a cache that nobody took over, for the caller to kill it; [`expired`]
/// follows.
pub(super) fn expire(cache: &Arc<Cache>) -> Option<Arc<Pin>> {
    let mut caches = CACHES.lock();
    let listed = find(&mut caches, cache.gone())?;
    match core::mem::replace(&mut listed.stage, Stage::Expiring) {
        Stage::Lingering(pin) => Some(pin),
        other => {
            listed.stage = other;
            None
        }
    }
}

/// Takes note that a cache is dead whose time was over.
pub(super) fn expired(gone: &Arc<Completion>) {
    let mut caches = CACHES.lock();
    let listed = find(&mut caches, gone);
    if let Some(listed) = listed.filter(|listed| matches!(listed.stage, Stage::Expiring)) {
        listed.stage = Stage::Bound;
    }
}

/// What a daemon meets that asks for a cache by its name.
pub(crate) enum Met {
    /// It may take the cache over.
    Vacant {
        cache: Arc<Cache>,
        lingers: bool,
    },
    /// The cache has a daemon, or somebody has fds of its last one.
    Bound,
    /// A cache, of this name or another, is just being killed. That waits for nobody.
    Expiring,
    /// A cache of another name is just being withdrawn: completed when it is gone. That waits for
    /// no daemon.
    Ending(Arc<Completion>),
    Nothing,
}

/// Finds the cache of this name, and how far it is. One look: what is between two stages in one
/// look and the next would be missed.
pub(crate) fn meet(tag: &CStr) -> Met {
    let caches = CACHES.lock();
    let mut met = Met::Nothing;
    for listed in caches.iter().flatten() {
        let is_named = listed.tag.as_bytes() == tag.as_bytes();
        match &listed.stage {
            Stage::Expiring => return Met::Expiring,
            Stage::Bound if is_named => met = Met::Bound,
            Stage::Ending if matches!(met, Met::Nothing) => {
                met = Met::Ending(listed.gone.clone());
            }
            Stage::Bound | Stage::Ending => {}
            Stage::Lingering(_) | Stage::Kept(_) => {
                if let Some(cache) = listed.vacant().filter(|_| is_named) {
                    let lingers = matches!(listed.stage, Stage::Lingering(_));
                    let cache = cache.clone();
                    met = Met::Vacant { cache, lingers };
                }
            }
        }
    }
    met
}

/// Finds a kept or lingering cache of this directory.
pub(crate) fn of_directory(root: &Dentry) -> Option<Arc<Cache>> {
    let caches = CACHES.lock();
    let mut vacant = caches.iter().flatten().filter_map(Listed::vacant);
    vacant.find(|cache| cache.store.is_child_of(root)).cloned()
}

/// What a daemon gets that takes a cache over, which is bound by that.
pub(crate) enum TakenOver {
    /// It was kept: it is dead, and nothing keeps it bound yet.
    Kept,
    /// It was lingering.
    Lingering(Arc<Pin>),
}

/// Binds a kept or lingering cache again. `None` where it has come to its end in the meantime.
pub(crate) fn take_over(cache: &Arc<Cache>) -> Option<TakenOver> {
    let mut caches = CACHES.lock();
    let listed = find(&mut caches, cache.gone())?;
    match core::mem::replace(&mut listed.stage, Stage::Bound) {
        Stage::Kept(_) => Some(TakenOver::Kept),
        Stage::Lingering(pin) => Some(TakenOver::Lingering(pin)),
        other => {
            listed.stage = other;
            None
        }
    }
}

/// Frees what the list takes. The module goes, so there is no cache.
pub(crate) fn unload() {
    let list = core::mem::replace(&mut *CACHES.lock(), KVec::new());
    drop(list);
}
