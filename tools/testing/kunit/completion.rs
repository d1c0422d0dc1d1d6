// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::sync::Completion`: waiting for what happens once, unless one is killed.

use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::sync::Completion;
use kunit::{ensure, ensure_eq, spawn, Outcome, Thread};

kunit::suite!(
    "kernel_ext_completion",
    [
        at_first_it_has_not_happened,
        nobody_waits_for_what_has_happened,
        all_who_wait_are_let_go,
        one_who_comes_later_does_not_wait,
        a_fatal_signal_ends_the_wait,
        another_signal_does_not_end_it,
        one_who_is_killed_leaves_the_others_waiting,
        one_who_was_killed_before_does_not_wait,
        what_has_happened_counts_more_than_a_signal,
    ]
);

fn new() -> Outcome<Arc<Completion>> {
    Ok(Arc::pin_init(Completion::new(), GFP_KERNEL)?)
}

/// A thread that waits, and is asleep by now.
fn waiter(event: &Arc<Completion>) -> Outcome<Thread<Result>> {
    let event = event.clone();
    let thread = spawn(move || event.wait_killable())?;
    thread.wait_until_killably_asleep()?;
    Ok(thread)
}

fn at_first_it_has_not_happened() -> Outcome {
    let event = new()?;
    ensure!(!event.is_done());
    let waiter = waiter(&event)?;
    ensure!(!event.is_done() && !waiter.is_done());
    event.complete_all();
    waiter.join()??;
    Ok(())
}

fn nobody_waits_for_what_has_happened() -> Outcome {
    let event = new()?;
    event.complete_all();
    // Not only the first.
    for _ in 0..3 {
        ensure!(event.is_done());
        ensure_eq!(event.wait_killable(), Ok(()));
    }
    ensure!(event.is_done());
    Ok(())
}

fn all_who_wait_are_let_go() -> Outcome {
    let event = new()?;
    let waiters = [waiter(&event)?, waiter(&event)?, waiter(&event)?];
    event.complete_all();
    for waiter in waiters {
        ensure_eq!(waiter.join()?, Ok(()));
    }
    Ok(())
}

fn one_who_comes_later_does_not_wait() -> Outcome {
    let event = new()?;
    let early = waiter(&event)?;
    event.complete_all();
    early.join()??;
    let late = event.clone();
    ensure_eq!(spawn(move || late.wait_killable())?.join()?, Ok(()));
    Ok(())
}

fn a_fatal_signal_ends_the_wait() -> Outcome {
    let event = new()?;
    let waiter = waiter(&event)?;
    waiter.kill();
    ensure_eq!(waiter.join()?, Err(EINTR));
    ensure!(!event.is_done());
    Ok(())
}

fn another_signal_does_not_end_it() -> Outcome {
    let event = new()?;
    let waiter = waiter(&event)?;
    for _ in 0..10 {
        waiter.interrupt();
        kernel_sleeps();
        waiter.wait_until_killably_asleep()?;
        ensure!(!waiter.is_done());
    }
    event.complete_all();
    ensure_eq!(waiter.join()?, Ok(()));
    Ok(())
}

fn one_who_is_killed_leaves_the_others_waiting() -> Outcome {
    let event = new()?;
    let (killed, other) = (waiter(&event)?, waiter(&event)?);
    killed.kill();
    ensure_eq!(killed.join()?, Err(EINTR));
    other.wait_until_killably_asleep()?;
    ensure!(!other.is_done());
    event.complete_all();
    ensure_eq!(other.join()?, Ok(()));
    Ok(())
}

fn one_who_was_killed_before_does_not_wait() -> Outcome {
    let (first, second) = (new()?, new()?);
    let events = (first.clone(), second.clone());
    // The first wait ends by the signal, which stays: so the second one does not begin.
    let thread = spawn(move || (events.0.wait_killable(), events.1.wait_killable()))?;
    thread.wait_until_killably_asleep()?;
    thread.kill();
    ensure_eq!(thread.join()?, (Err(EINTR), Err(EINTR)));
    ensure!(!first.is_done() && !second.is_done());
    Ok(())
}

fn what_has_happened_counts_more_than_a_signal() -> Outcome {
    let (first, second) = (new()?, new()?);
    second.complete_all();
    let events = (first.clone(), second.clone());
    let thread = spawn(move || (events.0.wait_killable(), events.1.wait_killable()))?;
    thread.wait_until_killably_asleep()?;
    thread.kill();
    ensure_eq!(thread.join()?, (Err(EINTR), Ok(())));
    Ok(())
}

/// Lets some time pass, so that a thread that was woken can run.
fn kernel_sleeps() {
    for _ in 0..3 {
        kernel_ext::task::synchronize_rcu();
    }
}
