// SPDX-License-Identifier: GPL-2.0
//! Many readers of cold pages by some threads of the daemon: how many requests get done, and how
//! long they take.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use cachefiles_harness::image::BLOCK;

use crate::crew::{Crew, Wait};
use crate::daemon::{Daemon, Mount};
use crate::meter::Meter;
use crate::output::Output;
use crate::{image, pool};

/// Readers, and threads of the daemon.
pub const READERS: [usize; 3] = [16, 64, 256];
/// Threads of the daemon.
pub const SERVERS: [usize; 3] = [1, 2, 4];

/// A file, and who reads it.
pub struct Crowd {
    daemon: Daemon,
    mount: Mount,
    file: Arc<File>,
    next: usize,
}

/// How it went.
pub struct Times {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Instructions in that time, if they are counted.
    pub instructions: u64,
    /// Each request, the shortest first.
    pub each: Vec<Duration>,
}

impl Times {
    /// What so many percent of the requests do not exceed, in nanoseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        self.each[(self.each.len() - 1) * percent / 100].as_nanos() as f64
    }
}

impl Crowd {
    /// Mounts what they read.
    pub fn new() -> Result<Self> {
        let mut daemon = Daemon::new()?;
        let mount = daemon.mount("crowd", image::large("crowd", 1, daemon.pages)?, "")?;
        let path = mount.file(0);
        let file = daemon.serve_during(move || pool::open(&path))??;
        Ok(Self {
            daemon,
            mount,
            file,
            next: 0,
        })
    }

    /// Lets `readers` threads read about `requests` pages that nobody has read yet.
    pub fn read(
        &mut self,
        readers: usize,
        servers: usize,
        requests: usize,
        meter: Option<&Meter>,
    ) -> Result<Times> {
        let each = requests.div_ceil(readers);
        let crew = Crew::start(&mut self.daemon, servers, Wait::Exclusive)?;
        let first = self.next;
        self.next += readers * each;
        let barrier = Arc::new(Barrier::new(readers + 1));
        let threads: Vec<_> = (0..readers)
            .map(|reader| {
                let (file, barrier) = (Arc::clone(&self.file), Arc::clone(&barrier));
                let pages = (0..each).map(move |number| first + number * readers + reader);
                std::thread::spawn(move || {
                    barrier.wait();
                    pages.map(|page| timed(&file, page)).collect::<Result<_>>()
                })
            })
            .collect();
        barrier.wait();
        let (begun, start) = (Instant::now(), meter.map(Meter::mark));
        let mut times: Vec<Duration> = Vec::with_capacity(readers * each);
        for thread in threads {
            let own: Vec<_> = thread.join().map_err(|_| anyhow!("a reader panicked"))??;
            times.extend(own);
        }
        let elapsed = begun.elapsed();
        let instructions = meter.zip(start).map(|(meter, start)| meter.since(start));
        crew.stop(&mut self.daemon)?;
        times.sort_unstable();
        Ok(Times {
            elapsed,
            instructions: instructions.unwrap_or_default(),
            each: times,
        })
    }

    /// Unmounts.
    pub fn end(mut self) -> Result<()> {
        drop(self.file);
        self.daemon.unmount(self.mount)
    }
}

fn timed(file: &File, page: usize) -> Result<Duration> {
    let begun = Instant::now();
    file.read_exact_at(&mut [0], (page * BLOCK) as u64)?;
    Ok(begun.elapsed())
}

/// Measures in time, which means something on several processors only.
pub fn run(output: &Output, requests: usize) -> Result<()> {
    let mut crowd = Crowd::new()?;
    for servers in SERVERS {
        for readers in READERS {
            let times = crowd.read(readers, servers, requests, None)?;
            let put = |what: &str, value: f64, unit: &str| {
                let metric = format!("{what}, {servers} threads");
                output.put("concurrent", &metric, Some(readers), value, unit);
            };
            let rate = times.each.len() as f64 / times.elapsed.as_secs_f64();
            put("rate", rate, "requests/s");
            put("p50", times.percentile(50) / 1e3, "us");
            put("p99", times.percentile(99) / 1e3, "us");
        }
    }
    crowd.end()
}
