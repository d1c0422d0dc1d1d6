// SPDX-License-Identifier: GPL-2.0
//! Many readers of cold pages by some threads of the daemon, on several processors: here it is time that
//! counts, for it is contention that is looked for.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use cachefiles_selftests::image::BLOCK;

use crate::crew::{Crew, Wait};
use crate::daemon::Daemon;
use crate::output::Output;
use crate::{image, pool};

/// Readers, and threads of the daemon.
const READERS: [usize; 3] = [16, 64, 256];
const SERVERS: [usize; 3] = [1, 2, 4];

/// Measures with about `requests` requests for each number of readers and servers.
pub fn run(output: &Output, requests: usize) -> Result<()> {
    let mut daemon = Daemon::new()?;
    let mount = daemon.mount("crowd", image::large("crowd", 1, daemon.pages)?, "")?;
    let path = mount.file(0);
    let file = daemon.serve_during(move || pool::open(&path))??;
    let mut next = 0;
    for servers in SERVERS {
        for readers in READERS {
            let each = requests.div_ceil(readers);
            let crew = Crew::start(&mut daemon, servers, Wait::Exclusive)?;
            let (elapsed, mut times) = crowd(&file, next, readers, each)?;
            crew.stop(&mut daemon)?;
            next += readers * each;
            times.sort_unstable();
            let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
            let name = |what: &str| format!("{what}, {servers} threads");
            let rate = times.len() as f64 / elapsed.as_secs_f64();
            output.put(
                "concurrent",
                &name("rate"),
                Some(readers),
                rate,
                "requests/s",
            );
            output.put("concurrent", &name("p50"), Some(readers), at(50), "us");
            output.put("concurrent", &name("p99"), Some(readers), at(99), "us");
        }
    }
    drop(file);
    daemon.unmount(mount)
}

/// Lets `readers` threads read `each` pages from page `first` on: how long that takes, and each of them.
fn crowd(
    file: &Arc<File>,
    first: usize,
    readers: usize,
    each: usize,
) -> Result<(Duration, Vec<Duration>)> {
    let barrier = Arc::new(Barrier::new(readers + 1));
    let threads: Vec<_> = (0..readers)
        .map(|reader| {
            let (file, barrier) = (Arc::clone(file), Arc::clone(&barrier));
            std::thread::spawn(move || -> Result<Vec<Duration>> {
                barrier.wait();
                let mut byte = [0];
                (0..each)
                    .map(|number| {
                        let begun = Instant::now();
                        let page = first + number * readers + reader;
                        file.read_exact_at(&mut byte, (page * BLOCK) as u64)?;
                        Ok(begun.elapsed())
                    })
                    .collect()
            })
        })
        .collect();
    barrier.wait();
    let begun = Instant::now();
    let mut times = Vec::with_capacity(readers * each);
    for thread in threads {
        times.extend(thread.join().map_err(|_| anyhow!("a reader panicked"))??);
    }
    Ok((begun.elapsed(), times))
}
