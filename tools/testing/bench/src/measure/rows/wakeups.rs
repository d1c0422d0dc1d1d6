// SPDX-License-Identifier: GPL-2.0
//! One reader, and K threads of the daemon that wait for the device: how often they wake up for a
//! request, and what the request costs.

use anyhow::Result;

use super::Bench;
use super::cold::Partner;
use crate::crew::{Crew, Wait};
use crate::daemon::Daemon;
use crate::{image, raw};

/// Threads.
const WAITERS: [usize; 4] = [1, 4, 16, 64];
/// Requests before those that count: every thread has come to wait.
const WARM_UP: usize = 8;

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut daemon = Daemon::new()?;
    let mount = daemon.mount("wakeups", image::large("wakeups", 1, daemon.pages)?, "")?;
    let mut reader = Partner::reader(&mut daemon, &mount.file(0))?;
    let (mut page, count) = (0, bench.requests);
    for (wait, name) in [(Wait::Exclusive, "EPOLLEXCLUSIVE"), (Wait::Poll, "poll")] {
        for waiters in WAITERS {
            let crew = Crew::start(&mut daemon, waiters, wait)?;
            bench.meter.quiesce();
            reader.ask(page, WARM_UP)?;
            reader.line()?;
            bench.meter.quiesce();
            let (before, start) = (raw::sleeps(), bench.meter.mark());
            reader.ask(page + WARM_UP, count)?;
            reader.line()?;
            let cost = bench.meter.since(start) as f64 / count as f64;
            bench.output.instructions(
                "wakeups",
                &format!("round trip, {name}"),
                Some(waiters),
                cost,
            );
            // This thread slept once, waiting for the reader. Every other time it was a thread of
            // the daemon that had been woken, for a message or for none: not every wake-up ends the
            // system call.
            let wakeups = raw::sleeps() - before - 1;
            let metric = format!("wake-ups per request, {name}");
            bench.output.put(
                "wakeups",
                &metric,
                Some(waiters),
                wakeups as f64 / count as f64,
                "wake-ups",
            );
            crew.stop(&mut daemon)?;
            page += WARM_UP + count;
        }
    }
    reader.end()?;
    daemon.unmount(mount)
}
