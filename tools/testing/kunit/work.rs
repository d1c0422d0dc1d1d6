// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::workqueue`: taking queued work back.

use crate::live_count::{Counted, LiveCount};
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::workqueue::{impl_has_work, new_work, Work, WorkItem};
use kernel_ext::sync::Completion;
use kernel_ext::workqueue::cancel_work_sync;
use kunit::{ensure, ensure_eq, spawn, wait_until, OrderedQueue, Outcome};

kunit::suite!(
    "kernel_ext_workqueue",
    [
        work_that_waits_is_taken_back,
        work_that_was_taken_back_can_be_queued_again,
        work_that_runs_is_waited_for,
        work_that_was_never_queued_is_not_taken_back,
        work_that_has_run_is_not_taken_back,
        of_two_who_take_it_back_one_does,
    ]
);

/// A work that waits in its middle to be let go.
#[pin_data]
struct Job {
    #[pin]
    work: Work<Self>,
    begun: AtomicU32,
    ended: AtomicU32,
    #[pin]
    gate: Completion,
    _counted: Counted,
}

impl_has_work! {
    impl HasWork<Self> for Job { self.work }
}

impl WorkItem for Job {
    type Pointer = Arc<Self>;

    fn run(job: Arc<Self>) {
        job.begun.fetch_add(1, Ordering::SeqCst);
        // Nobody kills a worker.
        let _ = job.gate.wait_killable();
        job.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Job {
    fn new(live: &LiveCount) -> Outcome<Arc<Self>> {
        let job = pin_init!(Self {
            work <- new_work!("kunit_job"),
            begun: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            gate <- Completion::new(),
            _counted: live.one_more(),
        });
        Ok(Arc::pin_init(job, GFP_KERNEL)?)
    }

    fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }

    fn ended(&self) -> u32 {
        self.ended.load(Ordering::SeqCst)
    }

    fn wait_until_it_runs(&self) -> Outcome {
        wait_until("the work to run", || self.begun() > self.ended())
    }
}

/// Lets a work go on when a test is over, however it ends: else its queue would wait for ever.
struct OpenAtEnd(Arc<Job>);

impl Drop for OpenAtEnd {
    fn drop(&mut self) {
        self.0.gate.complete_all();
    }
}

fn work_that_waits_is_taken_back() -> Outcome {
    let live = LiveCount::new()?;
    let queue = OrderedQueue::new()?;
    let (first, second) = (Job::new(&live)?, Job::new(&live)?);
    let _open = (OpenAtEnd(first.clone()), OpenAtEnd(second.clone()));
    ensure!(queue.enqueue(first.clone()).is_ok());
    first.wait_until_it_runs()?;
    ensure!(queue.enqueue(second.clone()).is_ok());
    ensure!(
        queue.enqueue(second.clone()).is_err(),
        "it was queued twice"
    );

    ensure!(cancel_work_sync(&second));
    ensure!(!cancel_work_sync(&second), "it was taken back twice");

    first.gate.complete_all();
    drop(queue);
    ensure_eq!((first.ended(), second.begun()), (1, 0));
    // The queue's references are gone with it.
    drop(_open);
    drop(first);
    ensure_eq!(live.alive(), 1);
    drop(second);
    ensure_eq!(live.alive(), 0);
    Ok(())
}

fn work_that_was_taken_back_can_be_queued_again() -> Outcome {
    let live = LiveCount::new()?;
    let queue = OrderedQueue::new()?;
    let (first, second) = (Job::new(&live)?, Job::new(&live)?);
    let _open = (OpenAtEnd(first.clone()), OpenAtEnd(second.clone()));
    ensure!(queue.enqueue(first.clone()).is_ok());
    first.wait_until_it_runs()?;
    for _ in 0..3 {
        ensure!(queue.enqueue(second.clone()).is_ok());
        ensure!(cancel_work_sync(&second));
    }
    ensure!(queue.enqueue(second.clone()).is_ok());
    first.gate.complete_all();
    second.gate.complete_all();
    drop(queue);
    ensure_eq!((first.ended(), second.ended()), (1, 1));
    Ok(())
}

fn work_that_runs_is_waited_for() -> Outcome {
    let live = LiveCount::new()?;
    let queue = OrderedQueue::new()?;
    let job = Job::new(&live)?;
    let open = OpenAtEnd(job.clone());
    ensure!(queue.enqueue(job.clone()).is_ok());
    job.wait_until_it_runs()?;

    let ours = job.clone();
    let canceller = spawn(move || (cancel_work_sync(&ours), ours.ended()))?;
    canceller.wait_until_soundly_asleep()?;
    ensure!(!canceller.is_done());
    ensure_eq!(job.ended(), 0);

    job.gate.complete_all();
    // It was not waiting in the queue; and it had ended by then.
    ensure_eq!(canceller.join()?, (false, 1));
    drop(queue);
    drop(open);
    drop(job);
    ensure_eq!(live.alive(), 0);
    Ok(())
}

fn work_that_was_never_queued_is_not_taken_back() -> Outcome {
    let live = LiveCount::new()?;
    let job = Job::new(&live)?;
    ensure!(!cancel_work_sync(&job));
    ensure_eq!(job.begun(), 0);
    drop(job);
    ensure_eq!(live.alive(), 0);
    Ok(())
}

fn work_that_has_run_is_not_taken_back() -> Outcome {
    let live = LiveCount::new()?;
    let queue = OrderedQueue::new()?;
    let job = Job::new(&live)?;
    job.gate.complete_all();
    ensure!(queue.enqueue(job.clone()).is_ok());
    wait_until("the work to end", || job.ended() == 1)?;
    ensure!(!cancel_work_sync(&job));
    drop(queue);
    drop(job);
    ensure_eq!(live.alive(), 0);
    Ok(())
}

fn of_two_who_take_it_back_one_does() -> Outcome {
    let live = LiveCount::new()?;
    let queue = OrderedQueue::new()?;
    let (first, second) = (Job::new(&live)?, Job::new(&live)?);
    let open = (OpenAtEnd(first.clone()), OpenAtEnd(second.clone()));
    ensure!(queue.enqueue(first.clone()).is_ok());
    first.wait_until_it_runs()?;
    for _ in 0..20 {
        ensure!(queue.enqueue(second.clone()).is_ok());
        let ours = second.clone();
        let other = spawn(move || cancel_work_sync(&ours))?;
        let here = cancel_work_sync(&second);
        ensure_eq!(other.join()?, !here);
    }
    drop(open);
    drop(queue);
    ensure_eq!(second.begun(), 0);
    drop((first, second));
    ensure_eq!(live.alive(), 0);
    Ok(())
}
