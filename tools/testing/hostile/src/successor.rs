// SPDX-License-Identifier: GPL-2.0
//! The good daemon that takes over when the hostile ones are dead, and has to bring everything to
//! an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use cachefiles_harness::session::{Blobs, Session};
use cachefiles_protocol::{Device, Errno, MAX_MESSAGE_SIZE, Message, ReceiveError};

const TICK: Duration = Duration::from_millis(10);

/// How it went.
#[derive(Debug, Default)]
pub struct Served {
    /// OPENs, READs and CLOSEs.
    pub messages: u64,
    /// READs of objects whose fd somebody else had still open.
    pub strays: u64,
    /// Requests that could not be answered well: the disk was full, the object gone.
    pub failures: Vec<String>,
    /// The cache was dead.
    pub dead: bool,
}

/// It at work on a thread.
pub struct Successor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Served>>,
}

impl Successor {
    /// Takes over, with a `restore` or without.
    pub fn start(device: Arc<Device>, blobs: Blobs, restored: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || serve(device, blobs, restored, &seen));
        Self { stop, thread }
    }

    /// Ends it, and tells how it went.
    pub fn stop(self) -> Result<Served> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the good daemon panicked"))?
    }
}

fn serve(device: Arc<Device>, blobs: Blobs, restored: bool, stop: &AtomicBool) -> Result<Served> {
    let mut served = Served::default();
    if restored {
        match device.restore() {
            Ok(()) => {}
            Err(Errno::IO) => served.dead = true,
            Err(errno) => bail!("restore: {errno}"),
        }
    }
    let mut session = Session::new(device, blobs);
    while !served.dead && !stop.load(Ordering::Relaxed) {
        if !session.device.wait_readable(Some(TICK))? {
            continue;
        }
        let mut buffer = [0; MAX_MESSAGE_SIZE];
        let message = match session.device.read_message(&mut buffer) {
            Ok(None) => continue,
            Ok(Some(message)) => message,
            Err(ReceiveError::Read(Errno::IO)) => {
                served.dead = true;
                break;
            }
            Err(error) => bail!("taking a message: {error}"),
        };
        served.messages += 1;
        match message {
            // Its fd is about to be closed, as whoever has it is dying: then it comes again.
            Message::Read(read) if !session.objects.contains_key(&read.object_id) => {
                served.strays += 1;
            }
            message => {
                let read = match &message {
                    Message::Read(read) => Some(*read),
                    _ => None,
                };
                if let Err(error) = session.take(message) {
                    served.failures.push(format!("{error:#}"));
                    // A refusal: the reader must not wait for ever.
                    if let Some(read) = read
                        && let Ok(object) = session.object(read.object_id)
                    {
                        let _ = object.fd.complete_read(read.msg_id);
                    }
                }
            }
        }
    }
    Ok(served)
}
