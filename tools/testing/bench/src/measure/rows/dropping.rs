// SPDX-License-Identifier: GPL-2.0
//! An image is unmounted while N requests of others are in flight.

use anyhow::Result;

use super::{Bench, Files, take_reads};
use crate::daemon::Daemon;
use crate::image;

/// Objects of the other image.
const OBJECTS: usize = 16;
/// More requests than this say nothing new.
const MOST: usize = 16_384;

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut daemon = Daemon::new()?;
    let mut files = Files::mount(&mut daemon, "others", OBJECTS)?;
    // Once for the directories of its volume.
    let single = image::large("single", 1, daemon.pages)?;
    let mount = daemon.mount("single", single.clone(), "")?;
    let closed = daemon.counts[2];
    daemon.begin_unmount(mount, |_, _| Ok(()))?;
    daemon.serve_until("two CLOSEs", |daemon| daemon.counts[2] == closed + 2)?;

    let sizes = bench.sizes.clone();
    for count in sizes.into_iter().filter(|count| *count <= MOST) {
        let mount = daemon.mount("single", single.clone(), "")?;
        bench.put_in_flight(&mut files, count)?;
        let held = take_reads(&mut daemon, count)?;
        let closed = daemon.counts[2];
        let start = bench.meter.mark();
        daemon.begin_unmount(mount, |_, _| Ok(()))?;
        daemon.serve_until("two CLOSEs", |daemon| daemon.counts[2] == closed + 2)?;
        // What follows the CLOSE in the kernel's workers, and not the waiting for it.
        std::thread::sleep(std::time::Duration::from_millis(10));
        let total = bench.meter.since(start);
        bench.output.instructions(
            "dropping",
            "unmount of 2 objects",
            Some(count),
            total as f64,
        );
        for read in held {
            daemon.answer(&read)?;
        }
        bench.let_finish(&mut daemon, count)?;
    }
    files.unmount(&mut daemon)
}
