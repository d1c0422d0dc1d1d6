// SPDX-License-Identifier: GPL-2.0
//! One thread: waits for messages and has the engine handle them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use cachefiles_protocol::{AlignedBuffer, MAX_MESSAGE_SIZE};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use super::engine::Engine;

/// Memory per thread for data: as much as one request of a large read-ahead.
const BUFFER_SIZE: usize = 1 << 20;

/// How long a thread sleeps at most. A wake-up that the kernel loses costs this, not a hang.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How many errors in a row a thread takes before it ends, and the pause after each.
const MAX_ERRORS: u32 = 100;
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// Tells all threads to end. It stays triggered.
#[derive(Debug)]
pub struct Stop {
    event: OwnedFd,
    triggered: AtomicBool,
}

impl Stop {
    pub fn new() -> Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            event,
            triggered: AtomicBool::new(false),
        })
    }

    /// Whether it is time to end, without a system call.
    pub fn is_triggered(&self) -> bool {
        self.triggered.load(Ordering::Relaxed)
    }

    pub fn trigger(&self) {
        self.triggered.store(true, Ordering::Relaxed);
        // Fails only if the count is full, and then it is triggered anyway.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// What woke a thread.
const DEVICE: u64 = 0;
const STOP: u64 = 1;

/// A thread's own state.
pub struct Worker<'a> {
    engine: &'a Engine,
    stop: &'a Stop,
    epoll: OwnedFd,
    buffer: AlignedBuffer,
}

impl<'a> Worker<'a> {
    pub fn new(engine: &'a Engine, stop: &'a Stop) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // Exclusive: a new request wakes one thread, not all of them.
        let exclusive = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        epoll::add(
            &epoll,
            engine.device(),
            epoll::EventData::new_u64(DEVICE),
            exclusive,
        )?;
        epoll::add(
            &epoll,
            stop,
            epoll::EventData::new_u64(STOP),
            epoll::EventFlags::IN,
        )?;
        Ok(Self {
            engine,
            stop,
            epoll,
            buffer: AlignedBuffer::new(BUFFER_SIZE),
        })
    }

    /// Works until told to stop. An error tells the other threads to stop too.
    pub fn run(mut self) -> Result<()> {
        let result = self.work();
        if result.is_err() {
            self.stop.trigger();
        }
        result
    }

    fn work(&mut self) -> Result<()> {
        let mut message = [0; MAX_MESSAGE_SIZE];
        let mut errors = 0;
        loop {
            self.engine.handle_due(&mut self.buffer);
            match self.engine.device().read_message(&mut message) {
                Ok(Some(message)) => {
                    errors = 0;
                    self.engine.handle(message, &mut self.buffer);
                    // Looked at between any two: a stream of requests must not keep the daemon
                    // alive.
                    if self.stop.is_triggered() {
                        return Ok(());
                    }
                    continue;
                }
                // None: there was nothing, or another thread took it.
                Ok(None) => errors = 0,
                // Out of fds or memory, or a request that the kernel has dropped meanwhile: it
                // passes.
                Err(error) => {
                    errors += 1;
                    tracing::warn!("{error}");
                    if errors >= MAX_ERRORS {
                        bail!("giving up after {errors} errors in a row: {error}");
                    }
                    std::thread::sleep(ERROR_PAUSE);
                }
            }
            let wait = self
                .engine
                .time_to_due()
                .unwrap_or(LONGEST_WAIT)
                .min(LONGEST_WAIT);
            if self.wait(wait)? {
                return Ok(());
            }
        }
    }

    /// Waits for a message or the time to pass; true if it is time to stop.
    fn wait(&self, timeout: Duration) -> Result<bool> {
        let timeout = Timespec::try_from(timeout)?;
        let mut events = Vec::with_capacity(2);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&timeout),
        ) {
            Ok(_) => Ok(events
                .iter()
                .any(|event: &epoll::Event| event.data.u64() == STOP)),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Worker<'_> {
    /// A thread that panics takes the others with it: a new process is better than half a one.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop.trigger();
        }
    }
}
