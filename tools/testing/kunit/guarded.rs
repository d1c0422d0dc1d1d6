// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::xarray`: values outside of a table that its lock protects.

use core::convert::Infallible;
use kernel::prelude::*;
use kernel::sync::{Arc, UniqueArc};
use kernel_ext::gfp::Gfp;
use kernel_ext::new_locked_xarray;
use kernel_ext::xarray::{Guarded, LockedXArray, Node};
use kunit::{ensure_eq, spawn, Outcome};

kunit::suite!(
    "kernel_ext_guarded",
    [
        a_value_is_reached_with_its_lock,
        a_value_of_another_table_is_refused,
        a_value_of_another_table_is_refused_to_what_was_just_stored,
        a_value_of_another_table_is_refused_to_a_walk,
        a_walk_reaches_one_value_after_the_other,
        one_thread_at_a_time_has_the_value,
    ]
);

type Table = LockedXArray<u32, (), u32>;

fn new_table() -> Outcome<Arc<Table>> {
    Ok(Arc::pin_init(
        new_locked_xarray!(0, "kunit_guarded"),
        GFP_KERNEL,
    )?)
}

fn new_node(name: u32) -> Outcome<Pin<UniqueArc<Node<u32, ()>>>> {
    Ok(UniqueArc::pin_init(
        Node::new::<Infallible>(name, ()),
        GFP_KERNEL,
    )?)
}

fn a_value_is_reached_with_its_lock() -> Outcome {
    let table = new_table()?;
    let first = Guarded::new(&table, 1);
    let second = Guarded::new(&table, [2; 3]);
    for _ in 0..3 {
        let mut guard = table.lock();
        let (_, data, value) = guard.with(&first)?;
        *value += 1;
        *data += 1;
        let (_, data, values) = guard.with(&second)?;
        values[1] += *data;
    }
    let mut guard = table.lock();
    let first = *guard.with(&first)?.2;
    let second = *guard.with(&second)?.2;
    drop(guard);
    ensure_eq!(first, 4);
    ensure_eq!(second, [2, 2 + 1 + 2 + 3, 2]);
    Ok(())
}

fn a_value_of_another_table_is_refused() -> Outcome {
    let (ours, other) = (new_table()?, new_table()?);
    let value = Guarded::new(&other, 1);
    let refused = ours.lock().with(&value).map(|_| ()).err();
    ensure_eq!(refused, Some(EINVAL));
    ensure_eq!(*other.lock().with(&value)?.2, 1);
    Ok(())
}

fn a_value_of_another_table_is_refused_to_what_was_just_stored() -> Outcome {
    let (ours, other) = (new_table()?, new_table()?);
    let value = Guarded::new(&other, 1);
    let node = new_node(0)?;
    let mut guard = ours.lock();
    let refused = guard
        .insert_cyclic(node, Gfp::Kernel)?
        .with(&value)
        .map(|_| ())
        .err();
    drop(guard);
    ensure_eq!(refused, Some(EINVAL));
    Ok(())
}

fn a_value_of_another_table_is_refused_to_a_walk() -> Outcome {
    let (ours, other) = (new_table()?, new_table()?);
    let value = Guarded::new(&other, 1);
    let node = new_node(0)?;
    ours.lock().insert_cyclic(node, Gfp::Kernel)?;
    let mut refused = None;
    ours.lock().for_each(0, 1, |_, access| {
        refused = access.get(&value).map(|_| ()).err();
    });
    ensure_eq!(refused, Some(EINVAL));
    Ok(())
}

fn a_walk_reaches_one_value_after_the_other() -> Outcome {
    let table = new_table()?;
    let values = [Guarded::new(&table, 0), Guarded::new(&table, 0)];
    for name in 0..10 {
        let node = new_node(name)?;
        table.lock().insert_cyclic(node, Gfp::Kernel)?;
    }
    table.lock().for_each(0, 100, |at, access| {
        let name = *at.shared();
        // Even ones to the first, odd ones to the second.
        let value = values.get(name as usize % 2);
        if let Some(Ok(value)) = value.map(|value| access.get(value)) {
            *value += name;
        }
    });
    let mut guard = table.lock();
    let even = *guard.with(&values[0])?.2;
    let odd = *guard.with(&values[1])?.2;
    drop(guard);
    ensure_eq!((even, odd), (20, 25));
    Ok(())
}

fn one_thread_at_a_time_has_the_value() -> Outcome {
    const TURNS: u64 = 5000;
    let table = new_table()?;
    let value = Arc::new(Guarded::new(&table, 0), GFP_KERNEL)?;
    let mut threads = KVec::with_capacity(3, GFP_KERNEL)?;
    for _ in 0..3 {
        let (table, value) = (table.clone(), value.clone());
        let work = move || -> Outcome {
            for _ in 0..TURNS {
                let mut guard = table.lock();
                let value = guard.with(&value)?.2;
                // Read, and written some time later.
                let read = *value;
                core::hint::spin_loop();
                *value = read + 1;
            }
            Ok(())
        };
        threads.push(spawn(work)?, GFP_KERNEL)?;
    }
    for thread in threads {
        thread.join()??;
    }
    ensure_eq!(*table.lock().with(&value)?.2, 3 * TURNS);
    Ok(())
}
