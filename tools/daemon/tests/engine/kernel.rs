// SPDX-License-Identifier: GPL-2.0
//! A stand-in for the kernel: a socket in place of the device, and files in place of the anonymous
//! fds.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{self, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cachefiles_daemon::backend::{Backend, Blob, Fault, SourceError};
use cachefiles_daemon::identity::Identities;
use cachefiles_daemon::serve::{Engine, Policy, Traces};
use cachefiles_daemon::stats::Stats;
use cachefiles_protocol::{Device, Errno, Message, ObjectFd, Open, Read};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinError, JoinHandle};

/// How long a request may take where that is what is looked at. Elsewhere it is as long as a busy
/// machine may need.
pub const DEADLINE: Duration = Duration::from_millis(300);

/// A blob whose part has this byte fails as if it did not match its digest.
pub const CORRUPT: u8 = 0xff;

/// Blobs in memory, which can be made to fail. The one called `hangs` does not answer, and the one
/// called `slow` takes a moment to open.
#[derive(Default)]
struct Memory {
    blobs: HashMap<&'static [u8], Vec<u8>>,
    broken: Arc<AtomicBool>,
    changed: Arc<AtomicBool>,
    /// Which ranges were read: offset and length. Whoever has it locked holds back all who read.
    read: Arc<Mutex<Vec<(u64, usize)>>>,
    /// How many times more opening fails, in a way that may pass.
    away: Arc<AtomicU32>,
    /// For how long it is not to be asked then, as it says.
    until: Arc<Mutex<Option<Duration>>>,
    /// How many are being opened, and the most there were at a time.
    opening: Arc<AtomicU32>,
    most: Arc<AtomicU32>,
}

struct MemoryBlob {
    bytes: Vec<u8>,
    hangs: bool,
    broken: Arc<AtomicBool>,
    changed: Arc<AtomicBool>,
    read: Arc<Mutex<Vec<(u64, usize)>>>,
}

impl Backend for Memory {
    fn open(&self, _volume_key: &[u8], cookie_key: &[u8]) -> io::Result<Box<dyn Blob>> {
        let opening = self.opening.fetch_add(1, Relaxed) + 1;
        self.most.fetch_max(opening, Relaxed);
        if cookie_key == b"slow" {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.opening.fetch_sub(1, Relaxed);
        let less = |times: u32| times.checked_sub(1);
        if self.away.fetch_update(Relaxed, Relaxed, less).is_ok() {
            let error = SourceError::new(Fault::Passing, "the store is away");
            return Err(error.until(*self.until.lock().unwrap()).into());
        }
        let bytes = self.blobs.get(cookie_key).cloned().ok_or(Errno::NOENT)?;
        Ok(Box::new(MemoryBlob {
            bytes,
            hangs: cookie_key == b"hangs",
            broken: Arc::clone(&self.broken),
            changed: Arc::clone(&self.changed),
            read: Arc::clone(&self.read),
        }))
    }
}

impl Blob for MemoryBlob {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn identity(&self) -> String {
        format!("size={}", self.bytes.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.changed.load(Ordering::Relaxed) {
            return Err(Errno::STALE.into());
        }
        if self.hangs {
            // Longer than any test takes.
            std::thread::sleep(Duration::from_secs(600));
        }
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("the store is away"));
        }
        let start = usize::try_from(offset).unwrap();
        self.read.lock().unwrap().push((offset, buffer.len()));
        if self.bytes[start..start + buffer.len()].contains(&CORRUPT) {
            return Err(SourceError::new(Fault::Corrupt, "not what its index says").into());
        }
        buffer.copy_from_slice(&self.bytes[start..start + buffer.len()]);
        Ok(())
    }
}

/// The engine, and the kernel's end of its device.
pub struct Kernel {
    runtime: Option<Runtime>,
    pub engine: Arc<Engine>,
    pub commands: OwnedFd,
    pub broken: Arc<AtomicBool>,
    pub changed: Arc<AtomicBool>,
    pub away: Arc<AtomicU32>,
    pub until: Arc<Mutex<Option<Duration>>>,
    /// The most OPENs that the source was asked for at a time.
    pub most_opening: Arc<AtomicU32>,
    pub read: Arc<Mutex<Vec<(u64, usize)>>>,
}

impl Kernel {
    pub fn new(blobs: &[(&'static [u8], Vec<u8>)]) -> Self {
        Self::with(blobs, None)
    }

    pub fn with(blobs: &[(&'static [u8], Vec<u8>)], identities: Option<Identities>) -> Self {
        Self::build(blobs, identities, Duration::from_secs(60), 1)
    }

    /// One that fetches so many bytes at once.
    pub fn fetching(blobs: &[(&'static [u8], Vec<u8>)], unit: u64) -> Self {
        Self::build(blobs, None, Duration::from_secs(60), unit)
    }

    /// One that gives up at [`DEADLINE`].
    pub fn hasty(blobs: &[(&'static [u8], Vec<u8>)]) -> Self {
        Self::build(blobs, None, DEADLINE, 1)
    }

    /// One that records, or fetches ahead, and fetches so many bytes at once.
    pub fn tracing(blobs: &[(&'static [u8], Vec<u8>)], unit: u64, traces: Traces) -> Self {
        Self::build_with(blobs, None, Duration::from_secs(60), unit, traces)
    }

    fn build(
        blobs: &[(&'static [u8], Vec<u8>)],
        identities: Option<Identities>,
        deadline: Duration,
        unit: u64,
    ) -> Self {
        Self::build_with(blobs, identities, deadline, unit, Traces::default())
    }

    fn build_with(
        blobs: &[(&'static [u8], Vec<u8>)],
        identities: Option<Identities>,
        deadline: Duration,
        unit: u64,
        traces: Traces,
    ) -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (device, commands) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let backend = Memory {
            blobs: blobs.iter().cloned().collect(),
            ..Memory::default()
        };
        let (broken, changed) = (Arc::clone(&backend.broken), Arc::clone(&backend.changed));
        let (away, read) = (Arc::clone(&backend.away), Arc::clone(&backend.read));
        let most_opening = Arc::clone(&backend.most);
        let until = Arc::clone(&backend.until);
        let stats = Stats::create(&Stats::memory_file().unwrap()).unwrap();
        let policy = Policy {
            tries: 3,
            first_delay: Duration::from_millis(2),
            max_delay: Duration::from_millis(4),
            deadline,
            turns: 2,
            unit,
        };
        let device = Device::from(device);
        let engine = Engine::new(device, Box::new(backend), identities, None, stats, policy);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self {
            runtime: Some(runtime),
            engine: Arc::new(engine.with_traces(traces)),
            commands,
            broken,
            changed,
            away,
            until,
            most_opening,
            read,
        }
    }

    /// The next command that the daemon wrote to the device.
    pub fn command(&self) -> Option<String> {
        let mut bytes = [0; 256];
        let length = rustix::io::read(&self.commands, &mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    /// Returns when the message is answered.
    pub fn handle(&self, message: Message) {
        let handled = Arc::clone(&self.engine).handle(message);
        self.runtime().block_on(handled).unwrap();
    }

    pub fn open(&self, msg_id: u32, object_id: u32, cookie_key: &[u8], fd: ObjectFd) {
        self.handle(open(msg_id, object_id, cookie_key, fd));
    }

    /// Has an OPEN served on the side.
    pub fn start_open(&self, msg_id: u32, cookie_key: &[u8]) -> Serving {
        self.start(open(msg_id, msg_id, cookie_key, cache_file().1))
    }

    /// Lets all that is served on the side go on until it waits for something.
    pub fn let_all_wait(&self) {
        self.runtime().block_on(async {
            // Each task is polled between two of them, and starts no other one.
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Lets all go on that is done on the side, until something is so.
    pub fn let_run(&self, what: &str, is_so: impl Fn() -> bool) {
        let patience = Duration::from_secs(20);
        let waiting = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = async { tokio::time::timeout(patience, waiting).await };
        let waited = self.runtime().block_on(waited);
        waited.unwrap_or_else(|_| panic!("waited in vain for {what}"));
    }

    /// Has a READ of the first page served on the side.
    pub fn start_read(&self, msg_id: u32, object_id: u32) -> Serving {
        self.start_read_at(msg_id, object_id, 0)
    }

    /// Has a READ of a page served on the side.
    pub fn start_read_at(&self, msg_id: u32, object_id: u32, off: u64) -> Serving {
        self.start(Message::Read(Read {
            msg_id,
            object_id,
            off,
            len: 4096,
        }))
    }

    fn start(&self, message: Message) -> Serving {
        self.runtime()
            .spawn(Arc::clone(&self.engine).handle(message))
    }

    pub fn read(&self, msg_id: u32, object_id: u32, off: u64, len: u64) {
        self.handle(Message::Read(Read {
            msg_id,
            object_id,
            off,
            len,
        }));
    }
}

/// A message that is being handled.
pub type Serving = JoinHandle<Result<(), JoinError>>;

fn open(msg_id: u32, object_id: u32, cookie_key: &[u8], fd: ObjectFd) -> Message {
    Message::Open(Open {
        msg_id,
        object_id,
        volume_key: b"erofs,image".to_vec(),
        cookie_key: cookie_key.to_vec(),
        fd,
        flags: 0,
    })
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // Threads that hang are not waited for.
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// A file in place of an object's fd, and that.
pub fn cache_file() -> (File, ObjectFd) {
    let file = Stats::memory_file().unwrap();
    let fd = ObjectFd::from(OwnedFd::from(file.try_clone().unwrap()));
    (file, fd)
}

/// An object whose writes fail, and whose closing shows.
pub fn broken_object() -> (File, ObjectFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (File::from(reader), ObjectFd::from(writer))
}
