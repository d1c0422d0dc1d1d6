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
//! The stages of all on-demand caches are under one lock, and change only as [`Stage`] says.
//! Nothing sleeps under the lock but for memory.

use crate::cache::Cache;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;
use kernel::workqueue::WorkItem;
use kernel_ext::fs::Dentry;
use kernel_ext::global::Global;
use kernel_ext::module::ModuleRef;
use kernel_ext::sync::Completion;

/// How far an on-demand cache is.
enum Stage {
    /// A daemon may come by the device or an anonymous fd. Next: kept, or ending.
    Bound,
    /// Only images are there. Next: bound, or ending.
    Kept(Arc<Cache>),
    /// It is withdrawn, and listed no more when that is over.
    Ending,
}

struct Listed {
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
            Stage::Bound | Stage::Ending => None,
        }
    }
}

fn find<'a>(caches: &'a mut List, gone: &Arc<Completion>) -> Option<&'a mut Listed> {
    let mut listed = caches.iter_mut().flatten();
    listed.find(|listed| Arc::ptr_eq(&listed.gone, gone))
}

/// Lists a cache that is about to be bound. Error: ENOMEM.
pub(crate) fn list(cache: &Arc<Cache>) -> Result {
    let listed = Some(Listed {
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
pub(crate) fn forget(gone: &Arc<Completion>) {
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
        let gone = cache.gone().clone();
        cache.withdraw();
        // Its directories are free again only after this.
        drop(cache);
        forget(&gone);
        drop(gone);
        drop(module);
    }
}

/// Returns, of a cache that is just being withdrawn, what is completed when it is gone. That waits
/// for no daemon.
pub(crate) fn ending() -> Option<Arc<Completion>> {
    let caches = CACHES.lock();
    let mut listed = caches.iter().flatten();
    let ending = listed.find(|listed| matches!(listed.stage, Stage::Ending));
    ending.map(|listed| listed.gone.clone())
}

/// Finds the kept cache that is `wanted`.
fn kept(wanted: impl Fn(&Cache) -> bool) -> Option<Arc<Cache>> {
    let caches = CACHES.lock();
    let mut kept = caches.iter().flatten().filter_map(Listed::kept);
    kept.find(|cache| wanted(cache)).cloned()
}

/// Finds the kept cache of this name.
pub(crate) fn of_tag(tag: &CStr) -> Option<Arc<Cache>> {
    kept(|cache| cache.fscache.name().as_bytes() == tag.as_bytes())
}

/// Finds a kept cache of this directory.
pub(crate) fn of_directory(root: &Dentry) -> Option<Arc<Cache>> {
    kept(|cache| cache.store.is_child_of(root))
}

/// Binds a kept cache again. False where it has come to its end in the meantime.
pub(crate) fn take_over(cache: &Arc<Cache>) -> bool {
    let mut caches = CACHES.lock();
    match find(&mut caches, cache.gone()) {
        Some(listed) if listed.kept().is_some() => {
            listed.stage = Stage::Bound;
            true
        }
        _ => false,
    }
}

/// Frees what the list takes. The module goes, so there is no cache.
pub(crate) fn unload() {
    let list = core::mem::replace(&mut *CACHES.lock(), KVec::new());
    drop(list);
}
