// SPDX-License-Identifier: GPL-2.0

//! Running a scenario in many orders.

use super::bounded::Bounded;
use super::world;
use cachefiles_bindings::sched;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A number from the environment.
fn setting(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is to be a number")),
        Err(_) => default,
    }
}

fn run(scheduler: impl Scheduler + 'static, scenario: impl Fn() + Send + Sync + 'static) -> usize {
    let mut config = Config::new();
    config.stack_size = 0x20000;
    config.silence_warnings = true;
    let run = AssertUnwindSafe(|| {
        Runner::new(scheduler, config).run(move || {
            world::reset();
            scenario();
        })
    });
    catch_unwind(run).unwrap_or_else(|panic| {
        println!("# the order that failed: task, what it does, to what");
        for (task, what, number) in sched::steps() {
            println!("#   {task} {what} {number}");
        }
        kernel_ext::anon_file::abandon();
        kernel_ext::workqueue::abandon();
        resume_unwind(panic)
    })
}

/// One order, in which nobody is interrupted but by chance.
pub(super) fn once(scenario: impl Fn() + Send + Sync + 'static) {
    run(RandomScheduler::new_from_seed(1, 1), scenario);
}

/// Every order with at most `preemptions` preemptions, or `MODEL_PREEMPTIONS` where that is more;
/// at most `MODEL_EXECUTIONS` of them (30,000).
pub(super) fn all_orders(
    name: &str,
    preemptions: usize,
    scenario: impl Fn() + Send + Sync + 'static,
) {
    let preemptions = preemptions.max(setting("MODEL_PREEMPTIONS", 0));
    let most = setting("MODEL_EXECUTIONS", 30_000);
    let begun = Instant::now();
    let (scheduler, exhausted) = Bounded::new(preemptions, most);
    let count = run(scheduler, scenario);
    let all = if exhausted.load(Ordering::Relaxed) {
        "all"
    } else {
        "not all"
    };
    println!(
        "# {name}: {count} orders, {all} with up to {preemptions} preemptions, in {:.1} s",
        begun.elapsed().as_secs_f32()
    );
}

/// Orders by chance, `MODEL_RANDOM` of them in all: half of them with a few priority changes each,
/// which find what needs a certain order of few steps.
pub(super) fn by_chance(
    name: &str,
    count: usize,
    scenario: impl Fn() + Clone + Send + Sync + 'static,
) {
    let count = setting("MODEL_RANDOM", count);
    let seed = setting("MODEL_SEED", 1) as u64;
    let begun = Instant::now();
    let random = RandomScheduler::new_from_seed(seed, count / 2);
    let mut done = run(random, scenario.clone());
    let pct = PctScheduler::new_from_seed(seed, 4, count - count / 2);
    done += run(pct, scenario);
    println!(
        "# {name}: {done} orders by chance from seed {seed}, in {:.1} s",
        begun.elapsed().as_secs_f32()
    );
}
