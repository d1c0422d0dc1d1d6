// SPDX-License-Identifier: GPL-2.0
//! Writes `restore` over and over, so that one meets every step of every death.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

/// Time between two of them: shorter than a worker takes to start.
const PAUSE: Duration = Duration::from_micros(500);

/// The thread that does it.
#[derive(Debug)]
pub struct Restorer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<u64>>,
}

impl Restorer {
    /// Starts. The device is given back to nobody: it is closed by [`Restorer::stop`].
    pub fn start(device: OwnedFd) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut device = File::from(device);
            let mut count = 0;
            while !seen.load(Ordering::Relaxed) {
                device.write_all(b"restore")?;
                count += 1;
                std::thread::sleep(PAUSE);
            }
            Ok(count)
        });
        Self { stop, thread }
    }

    /// Ends, with the device closed. Fails if any `restore` was refused.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let count = self
            .thread
            .join()
            .map_err(|_| anyhow!("the thread that restores panicked"))?
            .context("writing restore")?;
        ensure!(count > 0, "not one restore was written");
        Ok(())
    }
}
