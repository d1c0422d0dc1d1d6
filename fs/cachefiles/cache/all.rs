// SPDX-License-Identifier: GPL-2.0

//! The list of all caches that netfs has, for those who want to see what is in them.

use super::Cache;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::global::Global;

static CACHES: Global<KVec<Option<Arc<Cache>>>> = Global::new(KVec::new());

/// Lists a cache that is about to be bound. Error: ENOMEM.
pub(crate) fn add(cache: &Arc<Cache>) -> Result {
    let mut caches = CACHES.lock();
    match caches.iter_mut().find(|place| place.is_none()) {
        Some(place) => *place = Some(cache.clone()),
        None => caches.push(Some(cache.clone()), GFP_KERNEL)?,
    }
    Ok(())
}

/// Takes a cache off the list, if it is on it. Nobody looks at it from then on.
pub(crate) fn remove(cache: &Cache) {
    let mut caches = CACHES.lock();
    let is_this = |place: &&mut Option<Arc<Cache>>| {
        let listed = place.as_deref();
        listed.is_some_and(|listed| core::ptr::eq(listed, cache))
    };
    let removed = caches.iter_mut().find(is_this).and_then(Option::take);
    drop(caches);
    drop(removed);
}

/// Finds the first thing of any cache whose position is not below `position`: the cache's place in
/// the list in the upper half, and below it what `find` returns, which looks for the first thing of
/// one cache from a number on.
///
/// The list is locked during that, so that nobody has a cache in their hands which is withdrawn in
/// the meantime: its directory would be in use for a moment longer than its daemon may expect.
pub(crate) fn find(position: u64, mut find: impl FnMut(&Cache, u32) -> Option<u32>) -> Option<u64> {
    let first = usize::try_from(position >> 32).ok()?;
    let caches = CACHES.lock();
    for (place, cache) in caches.iter().enumerate().skip(first) {
        let from = if place == first { position as u32 } else { 0 };
        if let Some(found) = cache.as_ref().and_then(|cache| find(cache, from)) {
            return Some((place as u64) << 32 | u64::from(found));
        }
    }
    None
}

/// Frees what the list takes. The module goes, so there is no cache.
pub(crate) fn unload() {
    let list = core::mem::replace(&mut *CACHES.lock(), KVec::new());
    drop(list);
}
