// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::ids`: numbers that are not soon given out again.

use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::gfp::Gfp;
use kernel_ext::ids::CyclicIds;
use kunit::{ensure, ensure_eq, spawn, Outcome};

kunit::suite!(
    "kernel_ext_ids",
    [
        numbers_begin_with_one,
        a_number_that_was_given_back_is_not_the_next,
        after_the_last_number_comes_one,
        zero_is_no_number,
        giving_back_what_is_not_taken_changes_nothing,
        numbers_can_be_taken_where_nothing_may_sleep,
        no_two_threads_get_the_same_number,
    ]
);

/// The last number there is.
const LAST: u32 = i32::MAX as u32;

fn numbers_begin_with_one() -> Outcome {
    let ids = KBox::pin_init(CyclicIds::new(), GFP_KERNEL)?;
    for expected in 1..=1000 {
        ensure_eq!(ids.alloc(Gfp::Kernel)?, expected);
    }
    Ok(())
}

fn a_number_that_was_given_back_is_not_the_next() -> Outcome {
    let ids = KBox::pin_init(CyclicIds::new(), GFP_KERNEL)?;
    for expected in 1..=1000 {
        let id = ids.alloc(Gfp::Kernel)?;
        ensure_eq!(id, expected);
        ids.free(id);
    }
    Ok(())
}

fn after_the_last_number_comes_one() -> Outcome {
    let ids = KBox::pin_init(CyclicIds::beginning_at(LAST - 1), GFP_KERNEL)?;
    for expected in [LAST - 1, LAST, 1, 2] {
        ensure_eq!(ids.alloc(Gfp::Kernel)?, expected);
    }
    Ok(())
}

fn zero_is_no_number() -> Outcome {
    let ids = KBox::pin_init(CyclicIds::beginning_at(0), GFP_KERNEL)?;
    ensure_eq!(ids.alloc(Gfp::Kernel)?, 1);
    ensure_eq!(ids.alloc(Gfp::Kernel)?, 2);
    Ok(())
}

fn giving_back_what_is_not_taken_changes_nothing() -> Outcome {
    let ids = KBox::pin_init(CyclicIds::new(), GFP_KERNEL)?;
    for id in [0, 1, 2, LAST, u32::MAX] {
        ids.free(id);
    }
    ensure_eq!(ids.alloc(Gfp::Kernel)?, 1);
    ids.free(2);
    ensure_eq!(ids.alloc(Gfp::Kernel)?, 2);
    Ok(())
}

fn numbers_can_be_taken_where_nothing_may_sleep() -> Outcome {
    let ids = KBox::pin_init(CyclicIds::new(), GFP_KERNEL)?;
    let lock = KBox::pin_init(kernel::new_spinlock!(()), GFP_KERNEL)?;
    let guard = lock.lock();
    let id = ids.alloc(Gfp::Atomic);
    drop(guard);
    ensure_eq!(id?, 1);
    Ok(())
}

fn no_two_threads_get_the_same_number() -> Outcome {
    const THREADS: usize = 4;
    const EACH: usize = 500;
    let ids = Arc::pin_init(CyclicIds::new(), GFP_KERNEL)?;
    let mut threads = KVec::with_capacity(THREADS, GFP_KERNEL)?;
    for _ in 0..THREADS {
        let ids = ids.clone();
        let thread = spawn(move || -> Outcome<KVec<u32>> {
            let mut taken = KVec::with_capacity(EACH, GFP_KERNEL)?;
            for _ in 0..EACH {
                taken.push(ids.alloc(Gfp::Kernel)?, GFP_KERNEL)?;
            }
            Ok(taken)
        })?;
        threads.push(thread, GFP_KERNEL)?;
    }
    let mut seen = KVec::from_elem(false, THREADS * EACH + 1, GFP_KERNEL)?;
    for thread in threads {
        for id in thread.join()?? {
            let seen = seen.get_mut(id as usize);
            ensure!(seen.is_some(), "{id} was given before lower numbers");
            if let Some(seen) = seen {
                ensure!(!*seen, "{id} was given twice");
                *seen = true;
            }
        }
    }
    Ok(())
}
