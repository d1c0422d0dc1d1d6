// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::sync::SetOnce`: a value that is set later, by one of several.

use crate::live_count::{Counted, LiveCount};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::sync::SetOnce;
use kunit::{ensure, ensure_eq, spawn, Outcome};

kunit::suite!(
    "kernel_ext_set_once",
    [
        at_first_there_is_nothing,
        the_first_value_stays,
        a_value_that_comes_too_late_is_dropped,
        the_value_is_dropped_with_its_place,
        one_of_many_threads_sets_the_value,
    ]
);

fn at_first_there_is_nothing() -> Outcome {
    let place = SetOnce::<u32>::new();
    ensure_eq!(place.as_ref(), None);
    Ok(())
}

fn the_first_value_stays() -> Outcome {
    let place = SetOnce::new();
    ensure!(place.populate(1));
    ensure_eq!(place.as_ref(), Some(&1));
    ensure!(!place.populate(2));
    ensure_eq!(place.as_ref(), Some(&1));
    Ok(())
}

fn a_value_that_comes_too_late_is_dropped() -> Outcome {
    let live = LiveCount::new()?;
    let place = SetOnce::new();
    ensure!(place.populate(live.one_more()));
    ensure!(!place.populate(live.one_more()));
    ensure_eq!(live.alive(), 1);
    Ok(())
}

fn the_value_is_dropped_with_its_place() -> Outcome {
    let live = LiveCount::new()?;
    let place = SetOnce::new();
    place.populate(live.one_more());
    drop(place);
    ensure_eq!(live.alive(), 0);
    // Where there is none, nothing is.
    drop(SetOnce::<Counted>::new());
    ensure_eq!(live.alive(), 0);
    Ok(())
}

fn one_of_many_threads_sets_the_value() -> Outcome {
    for _ in 0..20 {
        let place = Arc::new(SetOnce::new(), GFP_KERNEL)?;
        let mut threads = KVec::with_capacity(4, GFP_KERNEL)?;
        for name in 0..4u32 {
            let place = place.clone();
            // What is seen after one's own attempt is all of a value, or nothing yet.
            let work = move || (place.populate([name; 16]), place.copy());
            threads.push(spawn(work)?, GFP_KERNEL)?;
        }
        let mut winner = None;
        for (name, thread) in threads.into_iter().enumerate() {
            let (has_set, seen) = thread.join()?;
            if has_set {
                ensure_eq!(winner, None);
                winner = Some([name as u32; 16]);
            }
            ensure!(seen.map_or(true, |seen| seen.iter().all(|&name| name == seen[0])));
        }
        ensure!(winner.is_some());
        ensure_eq!(place.copy(), winner);
    }
    Ok(())
}
