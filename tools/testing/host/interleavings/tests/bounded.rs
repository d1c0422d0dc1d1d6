// SPDX-License-Identifier: GPL-2.0

//! A scheduler that tries every order with at most so many preemptions.
//!
//! A preemption is a switch away from a task that could have gone on. Orders are tried depth
//! first: what was chosen last is changed first. Every choice that a test makes
//! (`sched::choose()`) is tried with every answer, too.

use cachefiles_bindings::sched;
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

struct Level {
    chosen: usize,
    of: usize,
}

/// See the head of this file.
pub(super) struct Bounded {
    max_preemptions: usize,
    max_executions: usize,
    /// Set when there is nothing left to try.
    exhausted: Arc<AtomicBool>,
    executions: usize,
    preemptions: usize,
    levels: Vec<Level>,
    depth: usize,
}

impl Bounded {
    pub(super) fn new(max_preemptions: usize, max_executions: usize) -> (Self, Arc<AtomicBool>) {
        let exhausted = Arc::new(AtomicBool::new(false));
        let this = Self {
            max_preemptions,
            max_executions,
            exhausted: Arc::clone(&exhausted),
            executions: 0,
            preemptions: 0,
            levels: Vec::new(),
            depth: 0,
        };
        (this, exhausted)
    }

    fn choose(&mut self, of: usize) -> usize {
        if self.depth == self.levels.len() {
            self.levels.push(Level { chosen: 0, of });
        }
        let level = &self.levels[self.depth];
        assert_eq!(level.of, of, "the test is not the same each time");
        self.depth += 1;
        level.chosen
    }
}

impl Scheduler for Bounded {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.executions > 0 {
            while self.levels.last().is_some_and(|l| l.chosen + 1 == l.of) {
                self.levels.pop();
            }
            let Some(level) = self.levels.last_mut() else {
                self.exhausted.store(true, Ordering::Relaxed);
                return None;
            };
            level.chosen += 1;
        }
        if self.executions == self.max_executions {
            return None;
        }
        self.executions += 1;
        self.preemptions = 0;
        self.depth = 0;
        Some(Schedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        _is_yielding: bool,
    ) -> Option<TaskId> {
        let current = current.filter(|id| runnable.iter().any(|task| task.id() == *id));
        let Some(current) = current else {
            return Some(runnable[self.choose(runnable.len())].id());
        };
        if self.preemptions == self.max_preemptions || runnable.len() == 1 {
            return Some(current);
        }
        // The running task first.
        match self.choose(runnable.len()) {
            0 => Some(current),
            chosen => {
                self.preemptions += 1;
                let mut others = runnable.iter().filter(|task| task.id() != current);
                others.nth(chosen - 1).map(|task| task.id())
            }
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.choose(sched::choices()) as u64
    }
}
