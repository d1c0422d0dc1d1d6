// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::delayed_work`: work that is done after a while.

use crate::live_count::{Counted, LiveCount};
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::delayed_work::{Delayed, DelayedWork};
use kernel_ext::task::{jiffies, ticks};
use kunit::{ensure, ensure_eq, spawn, wait_until, Outcome};

kunit::suite!(
    "kernel_ext_delayed_work",
    [
        work_is_done_when_its_time_has_come,
        a_sooner_time_takes_the_place_of_a_later_one,
        work_that_waits_is_taken_back_and_work_that_does_not_is_not,
        work_may_start_itself_again,
        work_of_another_owner_is_refused,
        of_those_who_start_and_take_back_nobody_keeps_a_reference,
    ]
);

/// A day: no test waits for that.
const LATER: u32 = 86_400;

#[pin_data]
struct Job {
    #[pin]
    work: DelayedWork<Self>,
    done: AtomicU32,
    /// How often it is to start itself again.
    repeats: AtomicU32,
    _counted: Counted,
}

impl Delayed for Job {
    fn run(job: Arc<Self>) {
        job.done.fetch_add(1, Ordering::SeqCst);
        let more = |left: u32| left.checked_sub(1);
        if job
            .repeats
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .is_ok()
        {
            // It is a part of itself.
            let _ = job.work.start(&job, 1);
        }
    }
}

impl Job {
    fn new(live: &LiveCount) -> Outcome<Arc<Self>> {
        let job = pin_init!(Self {
            work <- DelayedWork::new(kernel::static_lock_class!()),
            done: AtomicU32::new(0),
            repeats: AtomicU32::new(0),
            _counted: live.one_more(),
        });
        Ok(Arc::pin_init(job, GFP_KERNEL)?)
    }

    fn done(&self) -> u32 {
        self.done.load(Ordering::SeqCst)
    }
}

fn work_is_done_when_its_time_has_come() -> Outcome {
    let live = LiveCount::new()?;
    let job = Job::new(&live)?;
    let begun = jiffies();
    job.work.start(&job, 3)?;
    wait_until("the work", || job.done() == 1)?;
    ensure!(jiffies() - begun >= 3, "it was done too early");
    drop(job);
    wait_until("the reference to go", || live.alive() == 0)
}

fn a_sooner_time_takes_the_place_of_a_later_one() -> Outcome {
    let live = LiveCount::new()?;
    let job = Job::new(&live)?;
    job.work.start(&job, ticks(LATER))?;
    job.work.start(&job, 1)?;
    wait_until("the work", || job.done() == 1)?;
    ensure!(!job.work.cancel_sync());
    ensure_eq!(job.done(), 1);
    drop(job);
    wait_until("the reference to go", || live.alive() == 0)
}

fn work_that_waits_is_taken_back_and_work_that_does_not_is_not() -> Outcome {
    let live = LiveCount::new()?;
    let job = Job::new(&live)?;
    ensure!(!job.work.cancel_sync(), "it was never started");
    for _ in 0..2 {
        job.work.start(&job, ticks(LATER))?;
        ensure!(job.work.cancel_sync());
        ensure!(!job.work.cancel_sync(), "it was taken back twice");
    }
    ensure_eq!(job.done(), 0);
    drop(job);
    ensure_eq!(live.alive(), 0);
    Ok(())
}

fn work_may_start_itself_again() -> Outcome {
    let live = LiveCount::new()?;
    let job = Job::new(&live)?;
    job.repeats.store(3, Ordering::SeqCst);
    job.work.start(&job, 1)?;
    // Nobody but the queue has it from here on.
    drop(job);
    wait_until("the last time", || live.alive() == 0)
}

fn work_of_another_owner_is_refused() -> Outcome {
    let live = LiveCount::new()?;
    let (job, other) = (Job::new(&live)?, Job::new(&live)?);
    ensure_eq!(job.work.start(&other, 1), Err(EINVAL));
    ensure_eq!(other.work.start(&job, 1), Err(EINVAL));
    drop((job, other));
    ensure_eq!(live.alive(), 0);
    Ok(())
}

fn of_those_who_start_and_take_back_nobody_keeps_a_reference() -> Outcome {
    let live = LiveCount::new()?;
    let job = Job::new(&live)?;
    for round in 0..20 {
        let ours = job.clone();
        let other = spawn(move || {
            for _ in 0..50 {
                let _ = ours.work.start(&ours, round % 2);
                let _ = ours.work.cancel_sync();
            }
        })?;
        for _ in 0..50 {
            job.work.start(&job, round % 3)?;
            let _ = job.work.cancel_sync();
        }
        other.join()?;
    }
    let _ = job.work.cancel_sync();
    drop(job);
    ensure_eq!(live.alive(), 0);
    Ok(())
}
