// SPDX-License-Identifier: GPL-2.0
//! A daemon dies with N requests taken and unanswered. From the first read of the next one to the
//! last completion.

use anyhow::{Result, ensure};

use super::cold::cpu_time;
use super::{Bench, Files, take_reads};
use crate::daemon::{Daemon, Taken};

/// Objects that the requests are spread over.
const OBJECTS: usize = 64;

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut daemon = Daemon::new()?;
    let mut files = Files::mount(&mut daemon, "failover", OBJECTS)?;
    for count in bench.sizes.clone() {
        bench.put_in_flight(&mut files, count)?;
        take_reads(&mut daemon, count)?;
        daemon.objects.clear();
        bench.meter.quiesce();

        let (start, own) = (bench.meter.mark(), cpu_time());
        daemon.device.restore()?;
        let restored = bench.meter.since(start);
        let (mut polls, mut reads, mut empty) = (0, 0, 0);
        let begun = std::time::Instant::now();
        while bench.pool.done() < count {
            ensure!(begun.elapsed().as_secs() < 600, "failover does not end");
            polls += 1;
            if !daemon
                .device
                .wait_readable(Some(std::time::Duration::from_millis(20)))?
            {
                continue;
            }
            reads += 1;
            match daemon.take()? {
                Taken::Read(read) => daemon.answer(&read)?,
                Taken::Nothing => empty += 1,
                _ => {}
            }
        }
        let (total, own) = (bench.meter.since(start), cpu_time() - own);
        bench.pool.check()?;
        let each = |value: u64| value as f64 / count as f64;
        let output = &bench.output;
        output.instructions("failover", "restore", Some(count), restored as f64);
        output.instructions("failover", "per request", Some(count), each(total));
        output.instructions("failover", "daemon per request", Some(count), each(own));
        output.put(
            "failover",
            "reads per request",
            Some(count),
            each(reads),
            "calls",
        );
        output.put(
            "failover",
            "polls per request",
            Some(count),
            each(polls),
            "calls",
        );
        output.put(
            "failover",
            "empty reads",
            Some(count),
            empty as f64,
            "calls",
        );
    }
    files.unmount(&mut daemon)
}
