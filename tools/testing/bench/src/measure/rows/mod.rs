// SPDX-License-Identifier: GPL-2.0
//! The rows of the table: each function measures one thing on a fresh, loaded module and an empty
//! cache.

mod bystander;
mod calls;
mod closing;
mod cold;
mod crowd;
mod dropping;
mod duplicates;
mod failover;
mod images;
mod memory;
mod mounts;
mod parked;
mod wakeups;
mod warm;

use std::fs::File;
use std::sync::Arc;

use anyhow::{Result, ensure};
use cachefiles_harness::task::soon;

use crate::daemon::{Daemon, Mount, Taken};
use crate::meter::{Mark, Meter};
use crate::output::Output;
use crate::pool::{self, Job, Pool};
use crate::{image, store::Store};

pub use cold::Part;

/// What a row works with.
pub struct Bench {
    /// Counts.
    pub meter: Meter,
    /// Reads.
    pub pool: Pool,
    /// Takes the figures.
    pub output: Output,
    /// What lies under the cache.
    pub store: Store,
    /// Requests in a row that has no sizes.
    pub requests: usize,
    /// Numbers of requests in flight.
    pub sizes: Vec<usize>,
    /// Numbers of small images.
    pub images: Vec<usize>,
}

/// A row: its name, and what measures it.
pub struct Row {
    /// Its name, on the command line and in the results.
    pub name: &'static str,
    /// Measures it.
    pub run: fn(&mut Bench) -> Result<()>,
    /// On ext4 in memory too: where the file system's own work shows, and not only the disk's.
    pub ram: bool,
}

macro_rules! rows {
    ($($name:literal => $run:path, ram: $ram:literal;)*) => {
        /// All of them, in the order of the table.
        pub const ROWS: &[Row] = &[$(Row { name: $name, run: $run, ram: $ram },)*];
    };
}

rows! {
    "cold" => cold::run, ram: true;
    "warm" => warm::run, ram: true;
    "mounts" => mounts::run, ram: true;
    "images" => images::run, ram: false;
    "failover" => failover::run, ram: false;
    "parked" => parked::run, ram: false;
    "calls" => calls::run, ram: false;
    "closing" => closing::run, ram: false;
    "dropping" => dropping::run, ram: false;
    "crowd" => crowd::run, ram: false;
    "wakeups" => wakeups::run, ram: false;
    "duplicates" => duplicates::run, ram: false;
    "memory" => memory::run, ram: false;
    "bystander" => bystander::run, ram: false;
}

/// A mounted image of large files, and which of their pages nobody has asked for yet.
pub struct Files {
    /// Present until it is unmounted.
    pub mount: Mount,
    files: Vec<Arc<File>>,
    next: u64,
}

impl Files {
    /// Mounts an image of `count` files as `fsid`.
    pub fn mount(daemon: &mut Daemon, fsid: &str, count: usize) -> Result<Self> {
        let mount = daemon.mount(fsid, image::large(fsid, count, daemon.pages)?, "")?;
        let paths: Vec<_> = (0..count).map(|number| mount.file(number)).collect();
        let files = daemon.serve_during(move || {
            paths
                .iter()
                .map(|path| pool::open(path))
                .collect::<Result<_>>()
        })??;
        Ok(Self {
            mount,
            files,
            next: 0,
        })
    }

    /// Reads of pages that are not there, spread over the files.
    pub fn jobs(&mut self, count: usize) -> Vec<Job> {
        let first = self.next;
        self.next += count.div_ceil(self.files.len()) as u64;
        (0..count)
            .map(|number| Job {
                file: Arc::clone(&self.files[number % self.files.len()]),
                page: first + (number / self.files.len()) as u64,
            })
            .collect()
    }

    /// Lets go of the files and unmounts.
    pub fn unmount(self, daemon: &mut Daemon) -> Result<()> {
        drop(self.files);
        daemon.unmount(self.mount)
    }
}

impl Bench {
    /// Begins to measure.
    pub fn begin(&mut self) -> Mark {
        self.output.mark();
        self.meter.mark()
    }

    /// Ends it: instructions since then, for each of `per` requests. The figure of a row.
    pub fn end(&mut self, start: Mark, row: &str, metric: &str, n: Option<usize>, per: usize) {
        let total = self.meter.since(start);
        self.output.mark();
        self.output.section(row, metric, per);
        self.output
            .instructions(row, metric, n, total as f64 / per as f64);
    }

    /// Starts `count` readers, and waits until each waits for its page.
    pub fn put_in_flight(&mut self, files: &mut Files, count: usize) -> Result<()> {
        let jobs = files.jobs(count);
        self.pool.start(jobs)?;
        self.meter.quiesce();
        ensure!(self.pool.done() == 0, "some pages were there already");
        Ok(())
    }

    /// Serves until all readers have what they wanted.
    pub fn let_finish(&mut self, daemon: &mut Daemon, count: usize) -> Result<()> {
        let pool = &self.pool;
        daemon.serve_until("the readers to end", |_| pool.done() == count)?;
        self.pool.check()
    }
}

/// Takes the READs of `count` readers, and answers none of them.
pub fn take_reads(daemon: &mut Daemon, count: usize) -> Result<Vec<cachefiles_protocol::Read>> {
    let mut reads = Vec::with_capacity(count);
    while reads.len() < count {
        // Those of an object that is being reopened come when it is, by the work of somebody else.
        let ready = daemon.device.wait_readable(Some(soon()))?;
        ensure!(ready, "{} READs of {count}", reads.len());
        if let Taken::Read(read) = daemon.take()? {
            reads.push(read);
        }
    }
    Ok(reads)
}
