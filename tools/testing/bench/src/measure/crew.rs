// SPDX-License-Identifier: GPL-2.0
//! A daemon of several threads that all wait for the same device.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use cachefiles_harness::image::BLOCK;
use cachefiles_protocol::{Device, MAX_MESSAGE_SIZE, Message};
use rustix::event::{EventfdFlags, PollFd, PollFlags, epoll, eventfd, poll};

use crate::daemon::{Daemon, Object, answer, made_up};

/// How the threads wait.
#[derive(Clone, Copy)]
pub enum Wait {
    /// Each in an epoll of its own, with EPOLLEXCLUSIVE.
    Exclusive,
    /// In poll.
    Poll,
}

struct Shared {
    device: Arc<Device>,
    objects: Mutex<HashMap<u32, Arc<Object>>>,
    images: HashMap<Vec<u8>, Arc<Vec<u8>>>,
    pages: u64,
    opens: AtomicUsize,
    stop: OwnedFd,
}

/// The threads; they serve with what the daemon had, until it takes over again.
pub struct Crew {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Crew {
    /// Starts `count` threads.
    pub fn start(daemon: &mut Daemon, count: usize, wait: Wait) -> Result<Self> {
        let shared = Arc::new(Shared {
            device: Arc::clone(&daemon.device),
            objects: Mutex::new(std::mem::take(&mut daemon.objects)),
            images: daemon.images.clone(),
            pages: daemon.pages,
            opens: AtomicUsize::new(0),
            stop: eventfd(0, EventfdFlags::CLOEXEC)?,
        });
        let threads = (0..count)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.work(wait))
            })
            .collect();
        Ok(Self { shared, threads })
    }

    /// OPENs answered so far.
    pub fn opens(&self) -> usize {
        self.shared.opens.load(Ordering::SeqCst)
    }

    /// Ends the threads, and gives the objects back.
    pub fn stop(self, daemon: &mut Daemon) -> Result<()> {
        rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes())?;
        for thread in self.threads {
            thread
                .join()
                .map_err(|_| anyhow!("a daemon thread panicked"))??;
        }
        daemon.objects = std::mem::take(&mut *self.shared.objects());
        Ok(())
    }
}

impl Shared {
    fn objects(&self) -> MutexGuard<'_, HashMap<u32, Arc<Object>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, wait: Wait) -> Result<()> {
        let data = made_up(1 << 18);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        epoll::add(
            &epoll,
            self.device.as_fd(),
            epoll::EventData::new_u64(0),
            flags,
        )?;
        epoll::add(
            &epoll,
            &self.stop,
            epoll::EventData::new_u64(1),
            epoll::EventFlags::IN,
        )?;
        let mut events = [epoll::Event {
            flags,
            data: epoll::EventData::new_u64(0),
        }; 2];
        loop {
            let stop = match wait {
                Wait::Exclusive => {
                    let ready = epoll::wait(&epoll, &mut events, None)?;
                    events[..ready].iter().any(|event| event.data.u64() == 1)
                }
                Wait::Poll => {
                    let mut fds = [
                        PollFd::from_borrowed_fd(self.device.as_fd(), PollFlags::IN),
                        PollFd::new(&self.stop, PollFlags::IN),
                    ];
                    poll(&mut fds, None)?;
                    !fds[1].revents().is_empty()
                }
            };
            if stop {
                return Ok(());
            }
            self.serve(&data)?;
        }
    }

    fn serve(&self, data: &[u8]) -> Result<()> {
        let mut buffer = [0; MAX_MESSAGE_SIZE];
        match self.device.read_message(&mut buffer)? {
            None => {}
            Some(Message::Open(open)) => {
                let image = self.images.get(&open.cookie_key);
                let size = image.map_or(self.pages * BLOCK as u64, |image| image.len() as u64);
                let object = Arc::new(Object {
                    key: open.cookie_key,
                    fd: open.fd,
                });
                // Before the answer: a READ may be taken by another thread right after it.
                self.objects().insert(open.object_id, object);
                self.device.copen(open.msg_id, Ok(size)).context("copen")?;
                self.opens.fetch_add(1, Ordering::SeqCst);
            }
            Some(Message::Read(read)) => {
                let object = self.objects().get(&read.object_id).map(Arc::clone);
                let object = object.context("READ of an unknown object")?;
                answer(
                    &object,
                    self.images.get(&object.key).map(|image| image.as_slice()),
                    data,
                    &read,
                )?;
            }
            Some(Message::Close(close)) => {
                self.objects().remove(&close.object_id);
            }
        }
        Ok(())
    }
}
