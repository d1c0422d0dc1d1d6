// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::xarray`: a list of counted things by number.

use crate::live_count::{Counted, LiveCount};
use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel_ext::gfp::Gfp;
use kernel_ext::xarray::Registry;
use kunit::{ensure, ensure_eq, Outcome};

kunit::suite!(
    "kernel_ext_registry",
    [
        what_is_listed_is_found_by_its_number,
        a_number_that_is_taken_is_refused,
        what_is_taken_off_is_handed_back,
        what_is_taken_off_under_the_lock_is_handed_back,
        the_first_is_that_with_the_lowest_number,
        a_search_goes_up_to_the_last_number,
        a_registry_drops_what_is_in_it,
        things_can_be_listed_where_nothing_may_sleep,
    ]
);

struct Thing {
    name: u32,
    _counted: Counted,
}

type Things = Pin<KBox<Registry<Thing>>>;

fn new_registry() -> Outcome<Things> {
    let name = kernel::c_str!("kunit_registry");
    let key = kernel::static_lock_class!();
    Ok(KBox::pin_init(Registry::new(name, key), GFP_KERNEL)?)
}

fn thing(live: &LiveCount, name: u32) -> Outcome<Arc<Thing>> {
    let thing = Thing {
        name,
        _counted: live.one_more(),
    };
    Ok(Arc::new(thing, GFP_KERNEL)?)
}

/// A registry of things, each under the number that is its name.
fn registry_of(live: &LiveCount, names: &[u32]) -> Outcome<Things> {
    let registry = new_registry()?;
    for &name in names {
        registry.insert(name, thing(live, name)?, Gfp::Kernel)?;
    }
    Ok(registry)
}

/// Number and name of what a search comes to.
fn search(registry: &Registry<Thing>, from: u32) -> Option<(u32, u32)> {
    let number_and_name = |(id, thing): (u32, ArcBorrow<'_, Thing>)| (id, thing.name);
    registry.lock().at_or_behind(from).map(number_and_name)
}

fn what_is_listed_is_found_by_its_number() -> Outcome {
    let live = LiveCount::new()?;
    let registry = new_registry()?;
    let ours = thing(&live, 9)?;
    registry.insert(1000, ours.clone(), Gfp::Kernel)?;
    ensure_eq!(search(&registry, 1000), Some((1000, 9)));
    let is_ours = registry
        .remove(1000)
        .map(|found| Arc::ptr_eq(&found, &ours));
    ensure_eq!(is_ours, Some(true));
    Ok(())
}

fn a_number_that_is_taken_is_refused() -> Outcome {
    let live = LiveCount::new()?;
    let registry = registry_of(&live, &[5])?;
    let refused = registry.insert(5, thing(&live, 6)?, Gfp::Kernel);
    ensure_eq!(refused, Err(EBUSY));
    // The one that was refused is gone, the other is not.
    ensure_eq!(live.alive(), 1);
    ensure_eq!(search(&registry, 0), Some((5, 5)));
    Ok(())
}

fn what_is_taken_off_is_handed_back() -> Outcome {
    let live = LiveCount::new()?;
    let registry = registry_of(&live, &[0, 5])?;
    ensure!(registry.remove(4).is_none());
    let taken = registry.remove(0);
    ensure_eq!(taken.as_ref().map(|thing| thing.name), Some(0));
    ensure_eq!(live.alive(), 2);
    drop(taken);
    ensure_eq!(live.alive(), 1);
    ensure!(registry.remove(0).is_none());
    ensure_eq!(search(&registry, 0), Some((5, 5)));
    // The number is free again.
    registry.insert(0, thing(&live, 7)?, Gfp::Kernel)?;
    ensure_eq!(search(&registry, 0), Some((0, 7)));
    Ok(())
}

fn what_is_taken_off_under_the_lock_is_handed_back() -> Outcome {
    let live = LiveCount::new()?;
    let registry = registry_of(&live, &[1, 2, 3])?;
    let mut guard = registry.lock();
    let first = guard.first().map(|(id, _)| id);
    let taken = first.and_then(|id| guard.remove(id));
    let again = guard.remove(1);
    let next = guard.first().map(|(id, _)| id);
    drop(guard);
    ensure_eq!(taken.as_ref().map(|thing| thing.name), Some(1));
    ensure!(again.is_none());
    ensure_eq!(next, Some(2));
    ensure_eq!(live.alive(), 3);
    drop(taken);
    ensure_eq!(live.alive(), 2);
    Ok(())
}

fn the_first_is_that_with_the_lowest_number() -> Outcome {
    let live = LiveCount::new()?;
    let registry = registry_of(&live, &[700, 3, 64, u32::MAX])?;
    for expected in [3, 64, 700, u32::MAX] {
        let first = registry.lock().first().map(|(id, thing)| (id, thing.name));
        ensure_eq!(first, Some((expected, expected)));
        ensure!(registry.remove(expected).is_some());
    }
    ensure!(registry.lock().first().is_none());
    Ok(())
}

fn a_search_goes_up_to_the_last_number() -> Outcome {
    let live = LiveCount::new()?;
    let registry = registry_of(&live, &[3, 64, u32::MAX])?;
    for (from, found) in [
        (0, 3),
        (3, 3),
        (4, 64),
        (65, u32::MAX),
        (u32::MAX, u32::MAX),
    ] {
        ensure_eq!(
            (from, search(&registry, from)),
            (from, Some((found, found)))
        );
    }
    ensure!(registry.remove(u32::MAX).is_some());
    ensure_eq!(search(&registry, 65), None);
    Ok(())
}

fn a_registry_drops_what_is_in_it() -> Outcome {
    let live = LiveCount::new()?;
    let registry = registry_of(&live, &[0, 1, 63, 64, 100_000, u32::MAX])?;
    ensure_eq!(live.alive(), 6);
    drop(registry);
    ensure_eq!(live.alive(), 0);
    Ok(())
}

fn things_can_be_listed_where_nothing_may_sleep() -> Outcome {
    let live = LiveCount::new()?;
    let registry = new_registry()?;
    let ours = thing(&live, 1)?;
    let lock = KBox::pin_init(kernel::new_spinlock!(()), GFP_KERNEL)?;
    let guard = lock.lock();
    let listed = registry.insert(1, ours, Gfp::Atomic);
    drop(guard);
    listed?;
    ensure_eq!(search(&registry, 0), Some((1, 1)));
    Ok(())
}
