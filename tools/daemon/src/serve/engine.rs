// SPDX-License-Identifier: GPL-2.0
//! What is done for each message: the daemon's side of the protocol, free of threads and waiting.
//!
//! A fetch that fails is tried again later, and never completed without its data. After the last
//! try the READ is failed (`cfail`), and its reader gets an error. The C module of Linux 6.12 has
//! no error reply to a READ: there the object's fd is closed, and its READs come again at the next
//! `restore`.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cachefiles_protocol::{
    Close, Device, Errno, Message, ObjectFd, Open, Read, align_range, page_size,
};

use super::retry::{Attempt, RetryQueue, delay};
use crate::backend::{Backend, Blob};
use crate::identity::Identities;
use crate::seldom::{Seldom, TOLD_EVERY};
use crate::stats::Stats;

/// How long a blob is refused after a READ of it that can never be served, where the kernel has no
/// other way to be told.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// When to try again and when to give up.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How often a READ is tried at most.
    pub tries: u32,
    /// Wait after the first failure; it doubles with each further one.
    pub first_delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tries: 8,
            first_delay: Duration::from_millis(10),
            max_delay: Duration::from_secs(1),
        }
    }
}

/// An open object. The last one who has it closes the fd.
struct Object {
    fd: ObjectFd,
    blob: Box<dyn Blob>,
    key: String,
}

/// Everything the threads share.
pub struct Engine {
    device: Device,
    backend: Box<dyn Backend>,
    identities: Option<Identities>,
    /// Blobs whose refusal was told.
    told: Seldom,
    /// Blobs that are refused for a while, whatever the backend says.
    given_up: Seldom,
    objects: RwLock<HashMap<u32, Arc<Object>>>,
    retries: RetryQueue,
    stats: Stats,
    policy: Policy,
}

impl Engine {
    /// An engine without objects: after a restart the kernel opens them again as it needs them.
    pub fn new(
        device: Device,
        backend: Box<dyn Backend>,
        identities: Option<Identities>,
        stats: Stats,
        policy: Policy,
    ) -> Self {
        let (objects, retries) = (RwLock::default(), RetryQueue::default());
        Self {
            device,
            backend,
            identities,
            told: Seldom::new(TOLD_EVERY),
            given_up: Seldom::new(REFUSED_FOR),
            objects,
            retries,
            stats,
            policy,
        }
    }

    /// The device that messages come from.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Does what a message asks for. `buffer` is memory for data: whole pages, aligned.
    pub fn handle(&self, message: Message, buffer: &mut [u8]) {
        match message {
            Message::Open(open) => self.open(open),
            Message::Read(read) => {
                let again = self.stats.count_read(read.msg_id);
                tracing::debug!(
                    read.msg_id,
                    read.object_id,
                    read.off,
                    read.len,
                    again,
                    "READ"
                );
                self.read(Attempt { read, failures: 0 }, buffer);
            }
            Message::Close(close) => self.close(close),
        }
    }

    /// Tries the READs again whose time has come.
    pub fn handle_due(&self, buffer: &mut [u8]) {
        while let Some(attempt) = self.retries.take_due(Instant::now()) {
            self.read(attempt, buffer);
        }
    }

    /// How long until [`Engine::handle_due`] has something to do.
    pub fn time_to_due(&self) -> Option<Duration> {
        self.retries.time_to_next(Instant::now())
    }

    fn open(&self, open: Open) {
        let Open {
            msg_id,
            object_id,
            volume_key,
            cookie_key,
            fd,
            ..
        } = open;
        let key = format!(
            "{}/{}",
            volume_key.escape_ascii(),
            cookie_key.escape_ascii()
        );
        let size = match self.find(&key, &volume_key, &cookie_key) {
            Ok(blob) => {
                // Up to whole pages, because the last page is written whole.
                let size = blob.size().next_multiple_of(page_size());
                tracing::debug!(msg_id, object_id, key, size, "OPEN");
                // Before the answer: the first READ may come, to another thread, right after it.
                let object = Arc::new(Object { fd, blob, key });
                self.objects
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(object_id, object);
                Ok(size)
            }
            Err(error) => {
                if self.told.first(&key, Instant::now()) {
                    tracing::warn!("refusing to open {key}: {error}");
                }
                Err(errno_of(&error))
            }
        };
        match (self.device.copen(msg_id, size), size) {
            (Ok(()), Ok(_)) => {
                self.stats.opens.fetch_add(1, Relaxed);
            }
            (Ok(()), Err(_)) => {
                self.stats.opens_refused.fetch_add(1, Relaxed);
            }
            (Err(errno), _) => {
                // Most likely whoever wanted it was killed and the request went with him.
                tracing::warn!(
                    msg_id,
                    object_id,
                    "the kernel does not take the answer to an OPEN: {errno}"
                );
                drop(self.remove(object_id));
            }
        }
    }

    /// The blob of an OPEN, if it is the one that the cache has data of.
    fn find(&self, key: &str, volume_key: &[u8], cookie_key: &[u8]) -> io::Result<Box<dyn Blob>> {
        if self.given_up.is_recent(key, Instant::now()) {
            return Err(Errno::IO.into());
        }
        let blob = self.backend.open(volume_key, cookie_key)?;
        if let Some(identities) = &self.identities {
            identities.check(volume_key, cookie_key, &blob.identity())?;
        }
        Ok(blob)
    }

    fn close(&self, close: Close) {
        tracing::debug!(close.msg_id, close.object_id, "CLOSE");
        self.stats.closes.fetch_add(1, Relaxed);
        if self.remove(close.object_id).is_none() {
            tracing::debug!(close.object_id, "CLOSE of an object that is not open here");
        }
    }

    fn read(&self, attempt: Attempt, buffer: &mut [u8]) {
        let Read {
            msg_id,
            object_id,
            off,
            len,
        } = attempt.read;
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let object = objects.get(&object_id).cloned();
        drop(objects);
        let Some(object) = object else {
            // Its OPEN was read by a process whose fd is still open somewhere, or was given up on.
            let error = io::Error::other("the object is not open here");
            return self.failed(attempt, "an unknown object", &error);
        };
        if let Err(error) = self.fill(&object, off, len, buffer) {
            return self.failed(attempt, &object.key, &error);
        }
        match object.fd.complete_read(msg_id) {
            Ok(()) => {
                self.stats.reads_completed.fetch_add(1, Relaxed);
            }
            Err(Errno::INVAL) => {
                tracing::debug!(msg_id, object_id, "READ is gone, its reader was killed")
            }
            Err(errno) => self.failed(attempt, &object.key, &errno.into()),
        }
    }

    /// Writes the pages around the range into the cache file: the blob's bytes, and zeros in the
    /// rest of its last page.
    ///
    /// Fails with `ENODATA` where the range goes on behind that page: an image that has something
    /// there was made of a longer blob than this, which may be there only in part.
    fn fill(&self, object: &Object, off: u64, len: u64, buffer: &mut [u8]) -> io::Result<()> {
        let range = align_range(off, len).ok_or(Errno::OVERFLOW)?;
        if range.end > object.blob.size().next_multiple_of(page_size()) {
            return Err(Errno::NODATA.into());
        }
        let mut at = range.start;
        while at < range.end {
            let room = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
            let step = usize::try_from(room.min(range.end - at)).map_err(|_| Errno::OVERFLOW)?;
            let chunk = buffer
                .get_mut(..step)
                .filter(|chunk| !chunk.is_empty())
                .ok_or(Errno::INVAL)?;
            // The rest of the last page, and no more than that, reads as zeros.
            let there = object.blob.size().saturating_sub(at);
            let (data, rest) =
                chunk.split_at_mut(usize::try_from(there).unwrap_or(usize::MAX).min(step));
            object.blob.read_exact_at(data, at)?;
            rest.fill(0);
            object.fd.write_at(chunk, at)?;
            at += u64::try_from(step).map_err(|_| Errno::OVERFLOW)?;
            self.stats
                .bytes
                .fetch_add(u64::try_from(step).unwrap_or_default(), Relaxed);
        }
        Ok(())
    }

    /// Puts a READ back, or gives its object up.
    fn failed(&self, attempt: Attempt, key: &str, error: &io::Error) {
        let Attempt {
            read:
                Read {
                    msg_id,
                    object_id,
                    off,
                    len,
                },
            failures,
        } = attempt;
        let failures = failures + 1;
        if failures < self.policy.tries && !is_final(error) {
            // Once for each READ: the further tries mostly fail alike.
            if failures == 1 {
                tracing::warn!(
                    msg_id,
                    object_id,
                    off,
                    len,
                    "cannot serve a READ of {key}, trying again: {error}"
                );
            } else {
                tracing::debug!(msg_id, object_id, failures, "READ of {key}: {error}");
            }
            self.stats.retries.fetch_add(1, Relaxed);
            let wait = delay(failures, self.policy.first_delay, self.policy.max_delay);
            self.retries.push(
                Attempt {
                    failures,
                    ..attempt
                },
                Instant::now() + wait,
            );
        } else if self.fail_read(object_id, msg_id, error) {
            tracing::error!(
                msg_id,
                object_id,
                off,
                len,
                "giving up on a READ of {key}, its reader gets an error: {}",
                cause(error)
            );
        } else if self.remove(object_id).is_some() {
            if is_final(error) {
                self.given_up.first(key, Instant::now());
            }
            tracing::error!(
                msg_id,
                object_id,
                off,
                len,
                "giving up on a READ of {key}, its object is closed to be opened anew: {}",
                cause(error)
            );
        } else {
            // Another of its READs was given up before, and the kernel hands this one out again.
            tracing::debug!(msg_id, object_id, "giving up on a READ of {key}: {error}");
        }
    }

    /// Tells the kernel that a READ cannot be served. False where it does not know how to take
    /// that, or where the object is open elsewhere, if anywhere: whoever has it may yet serve the
    /// READ.
    fn fail_read(&self, object_id: u32, msg_id: u32, error: &io::Error) -> bool {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let is_open = objects.contains_key(&object_id);
        drop(objects);
        // EINVAL: it is gone, its reader was killed.
        is_open
            && matches!(
                self.device.cfail(
                    msg_id,
                    if is_final(error) {
                        Errno::IO
                    } else {
                        errno_of(error)
                    }
                ),
                Ok(()) | Err(Errno::INVAL)
            )
    }

    fn remove(&self, object_id: u32) -> Option<Arc<Object>> {
        // The fd is closed after the lock is released: closing it makes the kernel look for
        // requests.
        self.objects
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&object_id)
    }
}

/// Whether trying again is of no use: the blob is another one now, or ends before the range.
fn is_final(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::STALE | Errno::NODATA)
    )
}

/// What is wrong, for the log.
fn cause(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::STALE) => "the blob was changed since it was opened".into(),
        Some(Errno::NODATA) => "the range is behind the end of the blob: is it complete?".into(),
        _ => error.to_string(),
    }
}

/// The errno for the kernel; what has none becomes `EIO`.
fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
