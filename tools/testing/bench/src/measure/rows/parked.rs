// SPDX-License-Identifier: GPL-2.0
//! Requests that cannot be handed out: what one poll and one read cost while N of them wait behind
//! an object that is being reopened.

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{MAX_MESSAGE_SIZE, Open};

use super::{Bench, Files};
use crate::daemon::{Daemon, Taken};
use crate::output::median;

/// Calls of each kind; the middle one counts.
const CALLS: usize = 15;

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut daemon = Daemon::new()?;
    let mut files = Files::mount(&mut daemon, "parked", 1)?;
    for count in bench.sizes.clone() {
        // The primary blob keeps its fd: its pages are not wanted any more.
        let open = park(bench, &mut daemon, &mut files, count)?;
        let (mut polls, mut reads) = (Vec::new(), Vec::new());
        let mut buffer = [0; MAX_MESSAGE_SIZE];
        for _ in 0..CALLS {
            let (cost, ready) = bench.meter.cost(|| daemon.poll());
            ensure!(!ready?, "poll promises what is parked");
            polls.push(cost);
            let (cost, length) = bench.meter.cost(|| daemon.read_raw(&mut buffer));
            ensure!(length? == 0, "a message that should be parked");
            reads.push(cost);
        }
        bench
            .output
            .instructions("parked", "poll", Some(count), median(polls));
        bench
            .output
            .instructions("parked", "read", Some(count), median(reads));
        daemon.hold = None;
        daemon.accept(open)?;
        bench.let_finish(&mut daemon, count)?;
    }
    files.unmount(&mut daemon)
}

/// N reads of one object that is being reopened; gives back the OPEN that nobody answers.
fn park(bench: &mut Bench, daemon: &mut Daemon, files: &mut Files, count: usize) -> Result<Open> {
    bench.put_in_flight(files, count)?;
    daemon.hold = Some("parked-");
    let key = crate::image::device("parked", 0).into_bytes();
    daemon.objects.retain(|_, object| object.key != key);
    let mut open = None;
    for _ in 0..1000 {
        if let Taken::HeldOpen(taken) = daemon.take()? {
            open = Some(taken);
            break;
        }
        daemon
            .device
            .wait_readable(Some(std::time::Duration::from_millis(5)))?;
    }
    bench.meter.quiesce();
    open.context("the object is not reopened")
}
