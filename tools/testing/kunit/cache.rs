// SPDX-License-Identifier: GPL-2.0

//! `fscache::AcquiredCache` and volumes: from a name that is reserved to one that is given up.

use crate::live_count::LiveCount;
use crate::store::{new_cache, Bench, Plan, Store, CACHE};
use fscache::AcquiredCache;
use kernel::prelude::*;
use kernel::sync::Arc;
use kunit::{ensure, ensure_eq, spawn, users_of_this_module, wait_until, Outcome};

kunit::suite!(
    "fscache_cache",
    [
        a_name_is_acquired_once,
        a_cache_is_added_once,
        a_cache_that_was_withdrawn_is_not_added_again,
        what_a_cache_was_added_with_goes_with_it,
        a_cache_is_given_up_after_its_objects,
        a_cache_that_was_given_up_counts_nothing,
        a_cache_that_is_added_keeps_the_module,
        a_cache_is_given_up_after_a_volume_that_is_freed_slowly,
        a_volume_is_attached_and_freed,
        a_volume_that_is_refused_is_not_attached,
        no_volume_comes_to_a_cache_that_was_withdrawn,
        a_volume_is_detached_when_it_was_withdrawn_and_not_before,
        a_volume_that_is_held_outlives_its_owner,
        a_volume_of_another_back_end_is_not_detached,
    ]
);

fn a_name_is_acquired_once() -> Outcome {
    let first = AcquiredCache::acquire(CACHE)?;
    ensure_eq!(first.name().as_bytes(), b"kunit");
    ensure_eq!(AcquiredCache::acquire(CACHE).err(), Some(EBUSY));
    let other = AcquiredCache::acquire(kernel::c_str!("kunit-other"))?;
    drop(first);
    // The name is free again.
    drop(AcquiredCache::acquire(CACHE)?);
    drop(other);
    Ok(())
}

fn a_cache_is_added_once() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    let others = LiveCount::new()?;
    let other = new_cache(&others, Plan::Nothing, |_| Ok(()))?;
    ensure_eq!(bench.acquired.add::<Store<0>>(other), Err(EBUSY));
    // The one that was refused is gone, the other is not.
    ensure_eq!((bench.caches.alive(), others.alive()), (1, 0));
    Ok(())
}

fn a_cache_that_was_withdrawn_is_not_added_again() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    for _ in 0..2 {
        bench.acquired.withdraw();
        let again = bench.acquired.add::<Store<0>>(bench.cache.clone());
        ensure_eq!(again, Err(EBUSY));
    }
    for _ in 0..2 {
        bench.acquired.relinquish();
        let again = bench.acquired.add::<Store<0>>(bench.cache.clone());
        ensure_eq!(again, Err(EBUSY));
    }
    Ok(())
}

fn what_a_cache_was_added_with_goes_with_it() -> Outcome {
    let caches = LiveCount::new()?;
    for is_dropped in [false, true] {
        let acquired = AcquiredCache::acquire(CACHE)?;
        acquired.add::<Store<0>>(new_cache(&caches, Plan::Nothing, |_| Ok(()))?)?;
        ensure_eq!(caches.alive(), 1);
        acquired.withdraw();
        ensure_eq!(caches.alive(), 1);
        if is_dropped {
            drop(acquired);
        } else {
            acquired.relinquish();
        }
        ensure_eq!(caches.alive(), 0);
    }
    Ok(())
}

fn a_cache_is_given_up_after_its_objects() -> Outcome {
    let acquired = Arc::new(AcquiredCache::acquire(CACHE)?, GFP_KERNEL)?;
    let objects = [acquired.count_object(), acquired.count_object()];
    let theirs = acquired.clone();
    let waiter = spawn(move || theirs.wait_for_objects())?;
    waiter.wait_until_soundly_asleep()?;
    let [first, last] = objects;
    drop(first);
    waiter.wait_until_soundly_asleep()?;
    ensure!(!waiter.is_done());
    drop(last);
    waiter.join()?;
    // Nobody waits when there is none.
    acquired.wait_for_objects();
    acquired.relinquish();
    Ok(())
}

fn a_cache_that_was_given_up_counts_nothing() -> Outcome {
    let acquired = AcquiredCache::acquire(CACHE)?;
    acquired.relinquish();
    let objects = [acquired.count_object(), acquired.count_object()];
    // None of these does anything, with the cache gone.
    acquired.wait_for_objects();
    acquired.io_error();
    acquired.withdraw();
    acquired.relinquish();
    drop(objects);
    Ok(())
}

fn a_cache_that_is_added_keeps_the_module() -> Outcome {
    let before = users_of_this_module();
    let acquired = AcquiredCache::acquire(CACHE)?;
    ensure_eq!(users_of_this_module(), before);
    let caches = LiveCount::new()?;
    acquired.add::<Store<0>>(new_cache(&caches, Plan::Nothing, |_| Ok(()))?)?;
    ensure_eq!(users_of_this_module(), before + 1);
    acquired.withdraw();
    ensure_eq!(users_of_this_module(), before + 1);
    acquired.relinquish();
    ensure_eq!(users_of_this_module(), before);
    Ok(())
}

fn a_cache_is_given_up_after_a_volume_that_is_freed_slowly() -> Outcome {
    let bench = Bench::new(Plan::FreeSlowly)?;
    let volume = bench.volume(&[])?;
    let handle = bench.handle()?;
    wait_until("the volume to be pinned", || handle.n_accesses() > 0)?;
    let owner = spawn(move || drop(volume))?;
    wait_until("the volume to be freed", || bench.cache.freeing.get() == 1)?;

    let acquired = bench.acquired.clone();
    let giver = spawn(move || acquired.relinquish())?;
    giver.wait_until_soundly_asleep()?;
    ensure!(!giver.is_done());
    ensure_eq!(bench.cache.live.alive(), 1);

    bench.cache.let_go.complete_all();
    giver.join()?;
    ensure_eq!(bench.cache.live.alive(), 0);
    owner.join()?;
    Ok(())
}

fn a_volume_is_attached_and_freed() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    let volume = bench.volume(b"coherency")?;
    let handle = bench.handle()?;
    wait_until("the volume to be pinned", || handle.n_accesses() > 0)?;
    ensure!(handle.key().starts_with(b"kunit,volume-"));
    ensure_eq!(handle.key_with_nul().split_last(), Some((&0, handle.key())));
    ensure_eq!(*handle.coherency(), *b"coherency");
    ensure!(handle.try_get().is_some());
    ensure_eq!(bench.cache.live.alive(), 1);

    drop(volume);
    bench.wait_until_empty()?;
    ensure!(handle.try_get().is_none());
    ensure!(handle.detach::<Store<0>>().is_none());
    ensure_eq!(handle.n_accesses(), 0);
    // As it was at the end.
    ensure_eq!(*handle.coherency(), *b"coherency");
    Ok(())
}

fn a_volume_that_is_refused_is_not_attached() -> Outcome {
    for plan in [Plan::RefuseVolume, Plan::RefuseListing] {
        let bench = Bench::new(plan)?;
        let volume = bench.volume(&[])?;
        let handle = bench.handle()?;
        wait_until("the handle to be empty", || handle.try_get().is_none())?;
        wait_until("the volume to be dropped", || bench.cache.live.alive() == 0)?;
        ensure_eq!(handle.n_accesses(), 0);
        ensure!(handle.detach::<Store<0>>().is_none());
        drop(volume);
    }
    Ok(())
}

fn no_volume_comes_to_a_cache_that_was_withdrawn() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    bench.acquired.withdraw();
    let volume = bench.volume(&[])?;
    ensure!(bench.cache.volume.as_ref().is_none());
    ensure_eq!(bench.cache.live.alive(), 0);
    drop(volume);
    Ok(())
}

fn a_volume_is_detached_when_it_was_withdrawn_and_not_before() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    let volume = bench.volume(b"v1")?;
    let handle = bench.handle()?;
    wait_until("the volume to be pinned", || handle.n_accesses() > 0)?;
    let Some(held) = handle.try_get() else {
        ensure!(false, "it cannot be held");
        return Ok(());
    };
    ensure!(held.detach::<Store<0>>().is_none());
    // In a cache that can still be used nothing is withdrawn.
    held.withdraw();
    ensure!(held.detach::<Store<0>>().is_none());
    ensure!(handle.n_accesses() > 0);

    bench.acquired.withdraw();
    ensure!(held.detach::<Store<0>>().is_none());
    held.withdraw();
    held.withdraw();
    ensure!(held.detach::<Store<0>>().is_some());
    ensure!(held.detach::<Store<0>>().is_none());
    ensure!(handle.try_get().is_none());
    ensure_eq!(bench.cache.live.alive(), 0);
    ensure_eq!(*handle.coherency(), *b"v1");
    drop(held);
    drop(volume);
    Ok(())
}

fn a_volume_that_is_held_outlives_its_owner() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    let volume = bench.volume(b"v1")?;
    let handle = bench.handle()?;
    wait_until("the volume to be pinned", || handle.n_accesses() > 0)?;
    let held = handle.try_get();
    drop(volume);
    ensure!(held.is_some());
    ensure_eq!(bench.cache.live.alive(), 1);
    ensure_eq!(*handle.coherency(), *b"v1");
    drop(held);
    bench.wait_until_empty()?;
    Ok(())
}

fn a_volume_of_another_back_end_is_not_detached() -> Outcome {
    let bench = Bench::new(Plan::Nothing)?;
    let volume = bench.volume(&[])?;
    let handle = bench.handle()?;
    wait_until("the volume to be pinned", || handle.n_accesses() > 0)?;
    let held = handle.try_get();
    bench.acquired.withdraw();
    if let Some(held) = &held {
        held.withdraw();
        ensure!(held.detach::<Store<1>>().is_none());
        ensure_eq!(bench.cache.live.alive(), 1);
        ensure!(held.detach::<Store<0>>().is_some());
    }
    ensure!(held.is_some());
    drop(held);
    drop(volume);
    Ok(())
}
