// SPDX-License-Identifier: GPL-2.0
//! What a reader waits for where the daemon's server is far away: cold reads of an image, with a
//! daemon that takes each READ at once and answers it a while later.
//!
//! The time is that of the machine, which has to run in virtual time: a nanosecond passes for each
//! instruction, and where nobody has anything to do it leaps to the next timer. So a latency costs
//! nothing to measure, and the figures do not depend on the host.

pub mod content;

pub mod access;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_harness::sys;
use cachefiles_harness::task::Task;
use cachefiles_protocol::Read;

use crate::daemon::{Daemon, Taken};
use crate::output::Output;
use crate::store::Store;
use access::Access;

/// Where the module has its parameters, if it is ours.
pub const PARAMETERS: &str = "/sys/module/cachefiles/parameters";
/// What it is measured with: the end of the name, `async_reads` and `readahead`.
const MODES: [(&str, &str, &str); 4] = [
    ("", "0", "0"),
    (", async_reads", "1", "0"),
    (", readahead 1024", "0", "1024"),
    (", async_reads, readahead 1024", "1", "1024"),
];
/// How often it is looked whether the reader has ended.
const TICK: Duration = Duration::from_millis(1);
/// What a reader may take in all.
const PATIENCE: Duration = Duration::from_secs(600);

/// An image of the same files.
pub struct Image {
    /// How it is compressed.
    pub name: String,
    /// The image.
    pub file: PathBuf,
}

/// What is measured.
pub struct Latencies<'a> {
    /// Takes the figures.
    pub output: &'a Output,
    /// What lies under the cache.
    pub store: Store,
    /// In milliseconds, each.
    pub latencies: &'a [usize],
    /// The images.
    pub images: &'a [Image],
}

impl Latencies<'_> {
    /// Measures all, of the module that is loaded: as it is, and with `async_reads`, `readahead`
    /// and both where it has them. C has not, and stands beside all.
    pub fn run(&self) -> Result<()> {
        for (mode, is_async, readahead) in MODES {
            for (name, value) in [("async_reads", is_async), ("readahead", readahead)] {
                let parameter = Path::new(PARAMETERS).join(name);
                if parameter.exists() {
                    std::fs::write(parameter, value)?;
                }
            }
            for image in self.images {
                let blob = std::fs::read(&image.file)
                    .with_context(|| format!("reading {}", image.file.display()))?;
                for latency in self.latencies {
                    for access in access::ALL {
                        let name = format!("{}, {}{mode}", access.name, image.name);
                        self.measure(&name, access, &blob, *latency)
                            .with_context(|| format!("{name}, {latency} ms"))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn measure(&self, name: &str, access: Access, blob: &[u8], latency: usize) -> Result<()> {
        self.store.set_up(Path::new(""), Path::new(""))?;
        let mut daemon = Daemon::new()?;
        let mount = daemon.mount("latency", blob.to_vec(), "")?;
        let root = mount.path.clone();
        let mut far = Far::new(&mut daemon, Duration::from_millis(latency as u64));
        let time = far.serve_during(Task::start(name, move || (access.run)(&root)))??;
        let (most, reads) = (far.most, far.reads);
        daemon.unmount(mount)?;
        drop(daemon);
        self.store.tear_down()?;
        let put = |metric: &str, value: f64, unit: &str| {
            self.output
                .put("latency", metric, Some(latency), value, unit);
        };
        put(name, time.as_secs_f64() * 1e3, "ms");
        put(&format!("{name}: most in flight"), most as f64, "READs");
        put(&format!("{name}: in all"), reads as f64, "READs");
        Ok(())
    }
}

/// A daemon whose server is far away, and answers as many at once as it is asked.
pub struct Far<'a> {
    daemon: &'a mut Daemon,
    latency: Duration,
    /// READs that were taken, in the order in which they are to be answered.
    due: VecDeque<(Instant, Read)>,
    /// The largest number of them.
    pub most: usize,
    /// READs taken so far.
    pub reads: usize,
}

impl<'a> Far<'a> {
    /// Makes one of a daemon whose server is near.
    pub fn new(daemon: &'a mut Daemon, latency: Duration) -> Self {
        Self {
            daemon,
            latency,
            due: VecDeque::new(),
            most: 0,
            reads: 0,
        }
    }

    /// Serves until the reader has ended.
    pub fn serve_during<T: Send + 'static>(&mut self, reader: Task<T>) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        while !reader.is_done() {
            ensure!(Instant::now() < end, "the reader has not ended");
            // What is asked for is on its way at once, whatever else there is to do.
            while self.take(Duration::ZERO)? {}
            let now = Instant::now();
            match self.due.front() {
                Some((when, _)) if *when <= now => {
                    self.answer_first()?;
                    // There is one processor, and who waited for that has one of its own elsewhere.
                    std::thread::yield_now();
                }
                Some((when, _)) => _ = self.take(when.duration_since(now).min(TICK))?,
                None => _ = self.take(TICK)?,
            }
        }
        while !self.due.is_empty() {
            self.answer_first()?;
        }
        reader.finish()
    }

    fn answer_first(&mut self) -> Result<()> {
        let Some((_, read)) = self.due.pop_front() else {
            return Ok(());
        };
        self.daemon.answer(&read)
    }

    /// Takes a message, if one comes in time. False if none does.
    fn take(&mut self, timeout: Duration) -> Result<bool> {
        if !self.daemon.device.wait_readable(Some(timeout))? {
            return Ok(false);
        }
        match self.daemon.take()? {
            Taken::Read(read) => {
                self.due.push_back((Instant::now() + self.latency, read));
                self.most = self.most.max(self.due.len());
                self.reads += 1;
            }
            Taken::HeldOpen(_) => bail!("an OPEN while none is expected"),
            Taken::Nothing => return Ok(false),
            Taken::Open | Taken::Close => {}
        }
        Ok(true)
    }
}

/// Loads the module, measures, and takes it out again.
pub fn of_module(module: &Path, latencies: &Latencies<'_>) -> Result<()> {
    sys::load_module(module)?;
    latencies.run()?;
    sys::remove_unused_module(cachefiles_harness::task::soon())
}
