// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::xarray`: storing nodes under numbers of the table's choice, and finding them again.

use crate::live_count::{Counted, LiveCount};
use core::convert::Infallible;
use kernel::prelude::*;
use kernel::sync::{Arc, UniqueArc};
use kernel_ext::gfp::Gfp;
use kernel_ext::new_locked_xarray;
use kernel_ext::xarray::{Guarded, LockedXArray, Node};
use kunit::{ensure, ensure_eq, spawn, Outcome};

kunit::suite!(
    "kernel_ext_table",
    [
        numbers_begin_with_zero,
        a_number_that_was_emptied_is_not_the_next,
        the_last_number_is_never_given,
        what_is_stored_is_found_under_its_number,
        what_was_taken_out_is_not_found,
        what_is_taken_out_is_handed_back,
        a_search_finds_the_next_node_across_holes,
        a_walk_visits_every_node_once_and_in_order,
        a_walk_goes_on_where_it_stopped,
        the_locked_part_is_kept_from_lock_to_lock,
        a_node_is_set_up_before_it_is_stored,
        what_was_just_stored_is_set_up_under_the_lock,
        a_table_drops_what_is_in_it,
        a_node_that_is_held_outlives_its_table,
        threads_store_and_take_out_at_the_same_time,
    ]
);

/// The shared part of a node.
struct Item {
    name: u32,
    _counted: Counted,
}

type ItemNode = Node<Item, u32>;
type Table = LockedXArray<Item, u32, u64>;

fn new_table() -> Outcome<Pin<KBox<Table>>> {
    Ok(KBox::pin_init(
        new_locked_xarray!(0, "kunit_table"),
        GFP_KERNEL,
    )?)
}

fn new_node(live: &LiveCount, name: u32) -> Outcome<Pin<UniqueArc<ItemNode>>> {
    let item = Item {
        name,
        _counted: live.one_more(),
    };
    Ok(UniqueArc::pin_init(
        Node::new::<Infallible>(item, 0),
        GFP_KERNEL,
    )?)
}

/// Stores a node and returns its number.
fn store(table: &Table, live: &LiveCount, name: u32) -> Outcome<u32> {
    let node = new_node(live, name)?;
    let mut guard = table.lock();
    let id = guard.insert_cyclic(node, Gfp::Kernel)?.id();
    Ok(id)
}

/// Takes a node out, and drops it after the lock. Whether there was one.
fn take_out(table: &Table, id: u32) -> bool {
    let node = table.lock().slots().0.remove(id);
    node.is_some()
}

/// Stores nodes under the numbers from 0 on that have their number for a name, and leaves only
/// some.
fn store_only(table: &Table, live: &LiveCount, ids: &[u32]) -> Outcome {
    for id in 0..=ids.iter().copied().max().unwrap_or(0) {
        ensure_eq!(store(table, live, id)?, id);
        if !ids.contains(&id) {
            take_out(table, id);
        }
    }
    Ok(())
}

fn numbers_begin_with_zero() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    for expected in 0..200 {
        ensure_eq!(store(&table, &live, 0)?, expected);
    }
    Ok(())
}

fn a_number_that_was_emptied_is_not_the_next() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    for expected in 0..200 {
        let id = store(&table, &live, 0)?;
        ensure_eq!(id, expected);
        take_out(&table, id);
    }
    Ok(())
}

fn the_last_number_is_never_given() -> Outcome {
    let live = LiveCount::new()?;
    let table = LockedXArray::beginning_at(
        u32::MAX - 2,
        0,
        kernel::c_str!("kunit_table_end"),
        kernel::static_lock_class!(),
    );
    let table: Pin<KBox<Table>> = KBox::pin_init(table, GFP_KERNEL)?;
    for expected in [u32::MAX - 2, u32::MAX - 1, 0, 1] {
        ensure_eq!(store(&table, &live, expected)?, expected);
    }
    let mut guard = table.lock();
    let (mut slots, _) = guard.slots();
    let name = slots.at(u32::MAX - 1).map(|at| at.shared().name);
    let beyond = slots.at_or_behind(u32::MAX).is_some();
    drop(guard);
    ensure_eq!(name, Some(u32::MAX - 1));
    ensure!(!beyond);
    Ok(())
}

fn what_is_stored_is_found_under_its_number() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    for name in 1000..1200 {
        store(&table, &live, name)?;
    }
    for id in 0..200 {
        let mut guard = table.lock();
        let (mut slots, _) = guard.slots();
        let found = slots.at(id).map(|at| (at.id(), at.shared().name));
        drop(guard);
        ensure_eq!(found, Some((id, 1000 + id)));
    }
    ensure!(table.lock().slots().0.at(200).is_none());
    Ok(())
}

fn what_was_taken_out_is_not_found() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    let id = store(&table, &live, 0)?;
    ensure!(take_out(&table, id));
    ensure!(table.lock().slots().0.at(id).is_none());
    ensure!(table.lock().slots().0.at_or_behind(0).is_none());
    ensure!(!take_out(&table, id), "it was there a second time");
    Ok(())
}

fn what_is_taken_out_is_handed_back() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    let id = store(&table, &live, 7)?;
    let node = table.lock().slots().0.remove(id);
    ensure_eq!(live.alive(), 1);
    ensure_eq!(node.as_ref().map(|node| node.shared().name), Some(7));
    drop(node);
    ensure_eq!(live.alive(), 0);
    Ok(())
}

fn a_search_finds_the_next_node_across_holes() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    // On both sides of the tree's nodes, which have 64 slots.
    store_only(&table, &live, &[3, 63, 64, 700])?;
    for (from, found) in [
        (0, Some(3)),
        (3, Some(3)),
        (4, Some(63)),
        (63, Some(63)),
        (64, Some(64)),
        (65, Some(700)),
        (700, Some(700)),
        (701, None),
        (u32::MAX, None),
    ] {
        let mut guard = table.lock();
        let (mut slots, _) = guard.slots();
        let next = slots.at_or_behind(from).map(|at| at.id());
        drop(guard);
        ensure_eq!((from, next), (from, found));
    }
    Ok(())
}

fn a_walk_visits_every_node_once_and_in_order() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    let stored = [0, 1, 63, 64, 130, 700];
    store_only(&table, &live, &stored)?;
    let mut visited = [u32::MAX; 8];
    let mut count = 0;
    let end = table.lock().for_each(0, 100, |at, _| {
        if let Some(place) = visited.get_mut(count) {
            *place = at.shared().name;
        }
        count += 1;
    });
    ensure_eq!(end, None);
    ensure_eq!(count, stored.len());
    ensure_eq!(visited[..stored.len()], stored);
    Ok(())
}

fn a_walk_goes_on_where_it_stopped() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    store_only(&table, &live, &[2, 65, 66, 300])?;
    let mut sum = 0;
    let mut add = |from, limit| {
        table
            .lock()
            .for_each(from, limit, |at, _| sum += at.shared().name)
    };
    ensure_eq!(add(0, 0), Some(2));
    ensure_eq!(add(0, 2), Some(66));
    ensure_eq!(add(66, 2), None);
    ensure_eq!(add(301, 2), None);
    ensure_eq!(sum, 2 + 65 + 66 + 300);
    Ok(())
}

fn the_locked_part_is_kept_from_lock_to_lock() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    let id = store(&table, &live, 0)?;
    for expected in 0..10 {
        let mut guard = table.lock();
        let (mut slots, data) = guard.slots();
        let was = slots.at(id).map(|mut at| {
            let was = *at.locked();
            *at.locked() = was + 1;
            was
        });
        let data_was = *data;
        *data += 2;
        drop(guard);
        ensure_eq!(was, Some(expected));
        ensure_eq!(data_was, 2 * u64::from(expected));
        ensure_eq!(*table.lock().data(), 2 * u64::from(expected) + 2);
    }
    Ok(())
}

fn a_node_is_set_up_before_it_is_stored() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    let mut node = new_node(&live, 0)?;
    *Node::locked_mut(node.as_mut()) = 5;
    let id = table.lock().insert_cyclic(node, Gfp::Kernel)?.id();
    let mut guard = table.lock();
    let (mut slots, _) = guard.slots();
    let found = slots.at(id).map(|mut at| *at.locked());
    drop(guard);
    ensure_eq!(found, Some(5));
    Ok(())
}

fn what_was_just_stored_is_set_up_under_the_lock() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    let kept = Guarded::new(&table, 1);
    let node = new_node(&live, 9)?;
    let mut guard = table.lock();
    let mut inserted = guard.insert_cyclic(node, Gfp::Kernel)?;
    let (locked, data, value) = inserted.with(&kept)?;
    *locked += 10;
    *data += 20;
    *value += 30;
    let (id, node) = inserted.into_parts();
    let (mut slots, data, value) = guard.with(&kept)?;
    let found = slots.at(id).map(|mut at| (*at.locked(), at.shared().name));
    let (data, value) = (*data, *value);
    drop(guard);
    ensure_eq!(found, Some((10, 9)));
    ensure_eq!((data, value), (20, 31));
    ensure_eq!(node.shared().name, 9);
    Ok(())
}

fn a_table_drops_what_is_in_it() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    for id in 0..500 {
        store(&table, &live, id)?;
    }
    take_out(&table, 17);
    ensure_eq!(live.alive(), 499);
    drop(table);
    ensure_eq!(live.alive(), 0);
    Ok(())
}

fn a_node_that_is_held_outlives_its_table() -> Outcome {
    let live = LiveCount::new()?;
    let table = new_table()?;
    let id = store(&table, &live, 4)?;
    store(&table, &live, 5)?;
    let mut guard = table.lock();
    let (mut slots, _) = guard.slots();
    let held: Option<Arc<ItemNode>> = slots.at(id).map(|at| at.node().into());
    drop(guard);
    drop(table);
    ensure_eq!(live.alive(), 1);
    ensure_eq!(held.as_ref().map(|node| node.shared().name), Some(4));
    drop(held);
    ensure_eq!(live.alive(), 0);
    Ok(())
}

fn threads_store_and_take_out_at_the_same_time() -> Outcome {
    const EACH: u32 = 400;
    let live = Arc::new(LiveCount::new()?, GFP_KERNEL)?;
    let table: Arc<Table> = Arc::pin_init(new_locked_xarray!(0, "kunit_table"), GFP_KERNEL)?;
    let mut threads = KVec::with_capacity(3, GFP_KERNEL)?;
    for thread in 0..3 {
        let (table, live) = (table.clone(), live.clone());
        let work = move || -> Outcome {
            for turn in 0..EACH {
                let name = thread * EACH + turn;
                let id = store(&table, &live, name)?;
                let mut guard = table.lock();
                let (mut slots, data) = guard.slots();
                *data += 1;
                let found = slots.at(id).map(|at| at.shared().name);
                let node = slots.remove(id);
                drop(guard);
                ensure_eq!(found, Some(name));
                ensure!(node.is_some());
            }
            Ok(())
        };
        threads.push(spawn(work)?, GFP_KERNEL)?;
    }
    for thread in threads {
        thread.join()??;
    }
    ensure_eq!(*table.lock().data(), 3 * u64::from(EACH));
    ensure!(table.lock().slots().0.at_or_behind(0).is_none());
    ensure_eq!(live.alive(), 0);
    Ok(())
}
