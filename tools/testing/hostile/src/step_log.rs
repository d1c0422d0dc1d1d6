// SPDX-License-Identifier: GPL-2.0
//! What each thread did last, in a file that outlives it: a thread that hangs or is killed cannot
//! tell.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap};

/// Threads of one process that can leave a step log.
pub const THREADS: usize = 4;

/// Things remembered of each thread.
const STEPS: usize = 24;

/// Bytes for each of them, zeros behind the text.
const STEP: usize = 160;

/// In front of them: three counts.
const HEAD: usize = 24;

const THREAD: usize = HEAD + STEPS * STEP;

/// The step log of a thread.
pub struct StepLog {
    bytes: &'static mut [u8],
    counts: Counts,
    used: usize,
}

/// How much a thread did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps begun.
    pub steps: u64,
    /// Those that came out well.
    pub good: u64,
    /// Those that were refused, or failed.
    pub bad: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.good += other.good;
        self.bad += other.bad;
    }
}

impl StepLog {
    /// The step logs of this process's threads, in a new file.
    pub fn create(path: &Path) -> Result<Vec<Self>> {
        let length = THREADS * THREAD;
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .with_context(|| format!("creating {}", path.display()))?;
        file.set_len(length as u64)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no memory of this process is replaced.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                &file,
                0,
            )
        }
        .context("mapping the step log")?;
        // SAFETY: the mapping has this length and stays until the process ends; nothing else in
        // this process refers to it, and others only read the file.
        let bytes: &'static mut [u8] =
            unsafe { std::slice::from_raw_parts_mut(address.cast(), length) };
        Ok(bytes
            .chunks_exact_mut(THREAD)
            .map(|bytes| Self {
                bytes,
                counts: Counts::default(),
                used: 0,
            })
            .collect())
    }

    /// Something begins.
    pub fn begin(&mut self, what: &str) {
        let place = self.place();
        self.counts.steps += 1;
        self.used = 0;
        if let Some(step) = self.bytes.get_mut(place..place + STEP) {
            step.fill(0);
        }
        // Moved on only now: `append` writes to the step that was begun last.
        self.append(&format!("{}: {what}", self.counts.steps));
        self.put_counts();
    }

    /// How it ended.
    pub fn end(&mut self, result: &str, good: bool) {
        if good {
            self.counts.good += 1;
        } else {
            self.counts.bad += 1;
        }
        self.append(" = ");
        self.append(result);
        self.put_counts();
    }

    /// More about what is under way.
    pub fn append(&mut self, text: &str) {
        let place = HEAD + (self.counts.steps.saturating_sub(1) as usize % STEPS) * STEP;
        let step = self.bytes.get_mut(place..place + STEP).unwrap_or_default();
        let left = step.get_mut(self.used..).unwrap_or_default();
        for (to, byte) in left.iter_mut().zip(text.bytes()) {
            *to = byte;
            self.used += 1;
        }
    }

    fn place(&self) -> usize {
        HEAD + (self.counts.steps as usize % STEPS) * STEP
    }

    fn put_counts(&mut self) {
        let counts = [self.counts.steps, self.counts.good, self.counts.bad];
        for (to, count) in self.bytes.chunks_exact_mut(8).zip(counts) {
            to.copy_from_slice(&count.to_le_bytes());
        }
    }
}

/// The step log of a thread as others see it.
#[derive(Debug, Default)]
pub struct Seen {
    /// How much it did.
    pub counts: Counts,
    /// The last steps, oldest first.
    pub steps: Vec<String>,
}

/// Reads the step logs of a process: those of the threads that did anything.
pub fn read(path: &Path) -> io::Result<Vec<Seen>> {
    let bytes = fs::read(path)?;
    let threads = bytes.chunks_exact(THREAD).map(|bytes| {
        let count = |place: usize| {
            let bytes = bytes.get(8 * place..).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let counts = Counts {
            steps: count(0),
            good: count(1),
            bad: count(2),
        };
        let steps = (counts.steps.saturating_sub(STEPS as u64)..counts.steps)
            .filter_map(|step| {
                let place = HEAD + (step as usize % STEPS) * STEP;
                let text = bytes.get(place..place + STEP)?;
                let text = text.split(|&byte| byte == 0).next()?;
                Some(String::from_utf8_lossy(text).into_owned())
            })
            .collect();
        Seen { counts, steps }
    });
    Ok(threads.filter(|seen| seen.counts.steps > 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_steps_are_read_back_in_order() {
        let path = std::env::temp_dir().join(format!("step-log-test-{}", std::process::id()));
        let mut step_logs = StepLog::create(&path).unwrap();
        let step_log = &mut step_logs[1];
        for step in 0..STEPS + 2 {
            step_log.begin(&format!("step {step}"));
            step_log.end("OK", step % 2 == 0);
        }
        step_log.begin(&"long".repeat(100));
        let seen = read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(seen.len(), 1);
        let steps = &seen[0].steps;
        assert_eq!(steps.len(), STEPS);
        assert_eq!(steps[0], "4: step 3 = OK");
        assert_eq!(
            steps[STEPS - 2],
            format!("{}: step {} = OK", STEPS + 2, STEPS + 1)
        );
        assert_eq!(steps[STEPS - 1].len(), STEP);
        assert_eq!(seen[0].counts.good + seen[0].counts.bad, STEPS as u64 + 2);
    }
}
