// SPDX-License-Identifier: GPL-2.0
//! Thousands of readers: threads, made once, that each read one page when they are told to.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::image::BLOCK;
use rustix::fs::{Advice, fadvise};

/// A page of a file.
pub struct Job {
    /// The file.
    pub file: Arc<File>,
    /// Number of the page.
    pub page: u64,
}

struct Worker {
    thread: Thread,
    job: Arc<Mutex<Option<Job>>>,
}

/// The readers.
#[derive(Default)]
pub struct Pool {
    workers: Vec<Worker>,
    done: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Pool {
    /// Makes more of them, up to `count`.
    pub fn grow(&mut self, count: usize) -> Result<()> {
        while self.workers.len() < count {
            let job = Arc::new(Mutex::new(None));
            let (slot, done, failed) = (
                Arc::clone(&job),
                Arc::clone(&self.done),
                Arc::clone(&self.failed),
            );
            let thread = std::thread::Builder::new()
                .stack_size(16 << 10)
                .spawn(move || work(&slot, &done, &failed))
                .with_context(|| format!("reader {}", self.workers.len()))?;
            self.workers.push(Worker {
                thread: thread.thread().clone(),
                job,
            });
        }
        Ok(())
    }

    /// Gives each job to a reader.
    pub fn start(&mut self, jobs: impl IntoIterator<Item = Job>) -> Result<usize> {
        self.done.store(0, Ordering::SeqCst);
        self.failed.store(0, Ordering::SeqCst);
        let mut count = 0;
        for job in jobs {
            self.grow(count + 1)?;
            let worker = &self.workers[count];
            *worker.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
            worker.thread.unpark();
            count += 1;
        }
        Ok(count)
    }

    /// How many have read what they were told to.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// That nobody failed.
    pub fn check(&self) -> Result<()> {
        let failed = self.failed.load(Ordering::SeqCst);
        ensure!(failed == 0, "{failed} readers failed");
        Ok(())
    }
}

fn work(slot: &Mutex<Option<Job>>, done: &AtomicUsize, failed: &AtomicUsize) {
    loop {
        let job = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        match job {
            None => std::thread::park(),
            Some(job) => {
                let mut byte = [0];
                if job
                    .file
                    .read_exact_at(&mut byte, job.page * BLOCK as u64)
                    .is_err()
                {
                    failed.fetch_add(1, Ordering::SeqCst);
                }
                done.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// Opens a file to be read page by page, without readahead.
pub fn open(path: &Path) -> Result<Arc<File>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    fadvise(&file, 0, None, Advice::Random)?;
    Ok(Arc::new(file))
}
