// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::xarray`: marks, and the search for them.

use core::convert::Infallible;
use kernel::prelude::*;
use kernel::sync::UniqueArc;
use kernel_ext::gfp::Gfp;
use kernel_ext::new_locked_xarray;
use kernel_ext::xarray::{LockedXArray, Mark, Node};
use kunit::{ensure, ensure_eq, Outcome};

kunit::suite!(
    "kernel_ext_marks",
    [
        a_new_node_has_no_mark,
        a_marked_node_is_found,
        a_mark_is_set_by_number_too,
        the_two_marks_have_nothing_to_do_with_each_other,
        the_search_goes_round,
        a_mark_that_is_taken_away_is_not_found,
        the_last_mark_that_goes_is_missed_by_nobody,
        a_node_takes_its_marks_along,
        an_empty_slot_takes_no_mark,
        a_mark_stays_while_the_tree_grows,
        a_mark_does_not_change_the_node,
    ]
);

type Table = LockedXArray<u32, u32, ()>;

/// A table with nodes under the numbers from 0 on.
fn table_of(nodes: u32) -> Outcome<Pin<KBox<Table>>> {
    let table: Pin<KBox<Table>> =
        KBox::pin_init(new_locked_xarray!((), "kunit_marks"), GFP_KERNEL)?;
    grow(&table, nodes)?;
    Ok(table)
}

fn grow(table: &Table, by: u32) -> Outcome {
    for name in 0..by {
        let node = UniqueArc::pin_init(Node::new::<Infallible>(name, 0), GFP_KERNEL)?;
        table.lock().insert_cyclic(node, Gfp::Kernel)?;
    }
    Ok(())
}

/// Sets a mark at the place that was found. Whether there was one.
fn mark(table: &Table, id: u32, mark: Mark) -> bool {
    let mut guard = table.lock();
    let (mut slots, ()) = guard.slots();
    let Some(mut at) = slots.at(id) else {
        return false;
    };
    at.set_mark(mark);
    true
}

fn unmark(table: &Table, id: u32, mark: Mark) -> bool {
    let mut guard = table.lock();
    let (mut slots, ()) = guard.slots();
    let Some(mut at) = slots.at(id) else {
        return false;
    };
    at.clear_mark(mark);
    true
}

/// The number of the node that a search from `from` on comes to.
fn search(table: &Table, from: u32, mark: Mark) -> Option<u32> {
    let mut guard = table.lock();
    let (mut slots, ()) = guard.slots();
    slots.at_marked_cyclic(from, mark).map(|at| at.id())
}

fn a_new_node_has_no_mark() -> Outcome {
    let table = table_of(0)?;
    ensure!(!table.has_mark(Mark::One) && !table.has_mark(Mark::Two));
    ensure_eq!(search(&table, 0, Mark::One), None);
    grow(&table, 100)?;
    ensure!(!table.has_mark(Mark::One) && !table.has_mark(Mark::Two));
    ensure_eq!(search(&table, 0, Mark::One), None);
    ensure_eq!(search(&table, 0, Mark::Two), None);
    Ok(())
}

fn a_marked_node_is_found() -> Outcome {
    // Alone, when it is no tree yet; in one node of the tree; behind others.
    for (nodes, id) in [(1, 0), (10, 9), (1000, 0), (1000, 64), (1000, 999)] {
        let table = table_of(nodes)?;
        ensure!(mark(&table, id, Mark::One));
        ensure!(table.has_mark(Mark::One));
        ensure_eq!(search(&table, 0, Mark::One), Some(id));
        ensure_eq!(search(&table, id, Mark::One), Some(id));
    }
    Ok(())
}

fn a_mark_is_set_by_number_too() -> Outcome {
    let table = table_of(100)?;
    table.lock().slots().0.set_mark(70, Mark::Two);
    ensure!(table.has_mark(Mark::Two));
    ensure_eq!(search(&table, 0, Mark::Two), Some(70));
    Ok(())
}

fn the_two_marks_have_nothing_to_do_with_each_other() -> Outcome {
    let table = table_of(100)?;
    mark(&table, 10, Mark::One);
    ensure!(!table.has_mark(Mark::Two));
    ensure_eq!(search(&table, 0, Mark::Two), None);
    mark(&table, 10, Mark::Two);
    unmark(&table, 10, Mark::One);
    ensure!(!table.has_mark(Mark::One));
    ensure_eq!(search(&table, 0, Mark::One), None);
    ensure_eq!(search(&table, 0, Mark::Two), Some(10));
    Ok(())
}

fn the_search_goes_round() -> Outcome {
    let table = table_of(400)?;
    for id in [3, 64, 300] {
        mark(&table, id, Mark::One);
    }
    for (from, found) in [
        (0, 3),
        (3, 3),
        (4, 64),
        (65, 300),
        (300, 300),
        (301, 3),
        (u32::MAX, 3),
    ] {
        ensure_eq!((from, search(&table, from, Mark::One)), (from, Some(found)));
    }
    Ok(())
}

fn a_mark_that_is_taken_away_is_not_found() -> Outcome {
    let table = table_of(400)?;
    for id in [3, 64, 300] {
        mark(&table, id, Mark::One);
    }
    ensure!(unmark(&table, 64, Mark::One));
    ensure_eq!(search(&table, 4, Mark::One), Some(300));
    // One that is not set is not missed either.
    ensure!(unmark(&table, 64, Mark::One));
    ensure_eq!(search(&table, 301, Mark::One), Some(3));
    Ok(())
}

fn the_last_mark_that_goes_is_missed_by_nobody() -> Outcome {
    let table = table_of(400)?;
    mark(&table, 3, Mark::One);
    mark(&table, 300, Mark::One);
    unmark(&table, 3, Mark::One);
    ensure!(table.has_mark(Mark::One));
    unmark(&table, 300, Mark::One);
    ensure!(!table.has_mark(Mark::One));
    ensure_eq!(search(&table, 0, Mark::One), None);
    Ok(())
}

fn a_node_takes_its_marks_along() -> Outcome {
    let table = table_of(100)?;
    mark(&table, 50, Mark::One);
    mark(&table, 50, Mark::Two);
    let node = table.lock().slots().0.remove(50);
    ensure!(node.is_some());
    ensure!(!table.has_mark(Mark::One) && !table.has_mark(Mark::Two));
    ensure_eq!(search(&table, 0, Mark::One), None);
    ensure_eq!(search(&table, 0, Mark::Two), None);
    Ok(())
}

fn an_empty_slot_takes_no_mark() -> Outcome {
    let table = table_of(100)?;
    let node = table.lock().slots().0.remove(50);
    drop(node);
    for id in [50, 100, 5000, u32::MAX] {
        table.lock().slots().0.set_mark(id, Mark::One);
        ensure!(!table.has_mark(Mark::One), "slot {id} took it");
        ensure_eq!(search(&table, 0, Mark::One), None);
    }
    Ok(())
}

fn a_mark_stays_while_the_tree_grows() -> Outcome {
    let table = table_of(1)?;
    mark(&table, 0, Mark::One);
    for _ in 0..5 {
        grow(&table, 1000)?;
        ensure!(table.has_mark(Mark::One));
        ensure_eq!(search(&table, 1, Mark::One), Some(0));
    }
    Ok(())
}

fn a_mark_does_not_change_the_node() -> Outcome {
    let table = table_of(100)?;
    let mut guard = table.lock();
    let (mut slots, ()) = guard.slots();
    let found = slots.at(70).map(|mut at| {
        *at.locked() = 1;
        at.set_mark(Mark::One);
        *at.locked() += 1;
        at.set_mark(Mark::Two);
        at.clear_mark(Mark::One);
        (*at.shared(), *at.locked(), at.id())
    });
    drop(guard);
    ensure_eq!(found, Some((70, 2, 70)));
    Ok(())
}
