// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::slab`: memory for many things of one size.

use crate::live_count::{Counted, LiveCount};
use kernel::c_str;
use kernel::prelude::*;
use kernel_ext::gfp::Gfp;
use kernel_ext::slab::Slab;
use kunit::{ensure, ensure_eq, Outcome};

kunit::suite!(
    "kernel_ext_slab",
    [
        there_is_no_memory_before_the_cache_is_created,
        there_is_no_memory_after_the_cache_is_gone,
        a_cache_stays_for_all_who_allocate,
        a_cache_is_created_once,
        a_cache_that_is_gone_can_be_created_again,
        what_is_written_is_read,
        a_value_is_dropped_once,
        memory_without_a_value_drops_nothing,
        no_two_values_share_memory,
        values_are_aligned,
        memory_can_be_had_where_nothing_may_sleep,
    ]
);

fn there_is_no_memory_before_the_cache_is_created() -> Outcome {
    static SLAB: Slab<u64> = Slab::new(c_str!("kunit_not_created"));
    ensure!(SLAB.created().is_err());
    Ok(())
}

fn there_is_no_memory_after_the_cache_is_gone() -> Outcome {
    static SLAB: Slab<u64> = Slab::new(c_str!("kunit_gone"));
    let created = SLAB.create()?;
    drop(created.alloc(Gfp::Kernel)?);
    drop(created);
    ensure!(SLAB.created().is_err());
    Ok(())
}

fn a_cache_stays_for_all_who_allocate() -> Outcome {
    static SLAB: Slab<u64> = Slab::new(c_str!("kunit_stays"));
    let created = SLAB.create()?;
    let other = SLAB.created()?;
    drop(created);
    // It would be memory of a cache that is destroyed.
    ensure_eq!(*other.alloc(Gfp::Kernel)?.write(5), 5);
    ensure_eq!(SLAB.create().map(drop), Err(EBUSY));
    drop(SLAB.created()?);
    drop(other);
    ensure_eq!(SLAB.created().map(drop), Err(ENOENT));
    drop(SLAB.create()?);
    Ok(())
}

fn a_cache_is_created_once() -> Outcome {
    static SLAB: Slab<u64> = Slab::new(c_str!("kunit_once"));
    let created = SLAB.create()?;
    ensure_eq!(SLAB.create().map(drop), Err(EBUSY));
    // The first one is not harmed by it.
    ensure_eq!(*created.alloc(Gfp::Kernel)?.write(3), 3);
    drop(created);
    Ok(())
}

fn a_cache_that_is_gone_can_be_created_again() -> Outcome {
    static SLAB: Slab<u64> = Slab::new(c_str!("kunit_again"));
    for turn in 0..3 {
        let created = SLAB.create()?;
        ensure_eq!(*created.alloc(Gfp::Kernel)?.write(turn), turn);
        drop(created);
    }
    Ok(())
}

fn what_is_written_is_read() -> Outcome {
    static SLAB: Slab<[u32; 5]> = Slab::new(c_str!("kunit_written"));
    let created = SLAB.create()?;
    let mut value = created.alloc(Gfp::Kernel)?.write([1, 2, 3, 4, 5]);
    ensure_eq!(*value, [1, 2, 3, 4, 5]);
    value[4] = 6;
    ensure_eq!(*value, [1, 2, 3, 4, 6]);
    drop(value);
    drop(created);
    Ok(())
}

fn a_value_is_dropped_once() -> Outcome {
    static SLAB: Slab<Counted> = Slab::new(c_str!("kunit_dropped"));
    let live = LiveCount::new()?;
    let created = SLAB.create()?;
    let first = created.alloc(Gfp::Kernel)?.write(live.one_more());
    let second = created.alloc(Gfp::Kernel)?.write(live.one_more());
    ensure_eq!(live.alive(), 2);
    drop(first);
    ensure_eq!(live.alive(), 1);
    drop(second);
    ensure_eq!(live.alive(), 0);
    drop(created);
    Ok(())
}

fn memory_without_a_value_drops_nothing() -> Outcome {
    static SLAB: Slab<Counted> = Slab::new(c_str!("kunit_without"));
    let live = LiveCount::new()?;
    let created = SLAB.create()?;
    let counted = live.one_more();
    // With what another value has left in it.
    drop(created.alloc(Gfp::Kernel)?.write(counted));
    drop(created.alloc(Gfp::Kernel)?);
    ensure_eq!(live.alive(), 0);
    drop(created);
    Ok(())
}

fn no_two_values_share_memory() -> Outcome {
    const VALUES: usize = 300;
    static SLAB: Slab<[usize; 3]> = Slab::new(c_str!("kunit_apart"));
    let created = SLAB.create()?;
    let mut values = KVec::with_capacity(VALUES, GFP_KERNEL)?;
    for name in 0..VALUES {
        values.push(created.alloc(Gfp::Kernel)?.write([name; 3]), GFP_KERNEL)?;
    }
    for (name, value) in values.iter().enumerate() {
        ensure_eq!(**value, [name; 3]);
    }
    drop(values);
    drop(created);
    Ok(())
}

/// Larger than its alignment, and no power of two.
#[repr(align(64))]
struct Aligned([u8; 65]);

fn values_are_aligned() -> Outcome {
    static SLAB: Slab<Aligned> = Slab::new(c_str!("kunit_aligned"));
    let created = SLAB.create()?;
    let mut values = KVec::with_capacity(20, GFP_KERNEL)?;
    for _ in 0..20 {
        let value = created.alloc(Gfp::Kernel)?.write(Aligned([0; 65]));
        let address = value.0.as_ptr() as usize;
        values.push(value, GFP_KERNEL)?;
        ensure_eq!(address % 64, 0);
    }
    drop(values);
    drop(created);
    Ok(())
}

fn memory_can_be_had_where_nothing_may_sleep() -> Outcome {
    static SLAB: Slab<u64> = Slab::new(c_str!("kunit_atomic"));
    let created = SLAB.create()?;
    let lock = KBox::pin_init(kernel::new_spinlock!(()), GFP_KERNEL)?;
    let guard = lock.lock();
    let memory = created.alloc(Gfp::Atomic);
    drop(guard);
    drop(memory?);
    drop(created);
    Ok(())
}
