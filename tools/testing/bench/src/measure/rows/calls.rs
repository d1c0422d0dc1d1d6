// SPDX-License-Identifier: GPL-2.0
//! System calls of the daemon in which the module has little or nothing to do. An interface that
//! takes fewer of them saves at most this much of a request.

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::MAX_MESSAGE_SIZE;
use rustix::io::Errno;

use super::{Bench, Files, take_reads};
use crate::daemon::Daemon;
use crate::output::median;

/// Calls of each kind; the middle one counts.
const CALLS: usize = 101;

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut daemon = Daemon::new()?;
    let mut files = Files::mount(&mut daemon, "calls", 1)?;
    bench.put_in_flight(&mut files, 1)?;
    measure(bench, "poll, a READ is there", || {
        ensure!(daemon.poll()?, "the READ is not there");
        Ok(())
    })?;
    let reads = take_reads(&mut daemon, 1)?;
    let mut buffer = [0; MAX_MESSAGE_SIZE];
    measure(bench, "read, nothing is there", || {
        ensure!(
            daemon.read_raw(&mut buffer)? == 0,
            "a message out of nowhere"
        );
        Ok(())
    })?;
    let fd = &daemon.objects.values().next().context("no object")?.fd;
    measure(bench, "ioctl, refused", || {
        // The module looks at the command, which is none of its own, and at nothing else.
        let refused = rustix::io::ioctl_fionread(fd);
        ensure!(refused == Err(Errno::INVAL), "not refused: {refused:?}");
        Ok(())
    })?;
    measure(bench, "getppid", || {
        let _ = rustix::process::getppid();
        Ok(())
    })?;
    for read in &reads {
        daemon.answer(read)?;
    }
    bench.let_finish(&mut daemon, 1)?;
    files.unmount(&mut daemon)
}

fn measure(bench: &mut Bench, metric: &str, mut call: impl FnMut() -> Result<()>) -> Result<()> {
    let mut costs = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let (cost, done) = bench.meter.cost(&mut call);
        done?;
        costs.push(cost);
    }
    bench
        .output
        .instructions("calls", metric, None, median(costs));
    Ok(())
}
