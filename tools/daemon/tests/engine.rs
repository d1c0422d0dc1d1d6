// SPDX-License-Identifier: GPL-2.0
//! The engine against a stand-in for the kernel: a socket in place of the device, and files in
//! place of the anonymous fds. (Completing a READ needs the real thing: that is tested in the VM.)

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cachefiles_daemon::backend::{Backend, Blob};
use cachefiles_daemon::identity::Identities;
use cachefiles_daemon::serve::{Engine, Policy};
use cachefiles_daemon::stats::Stats;
use cachefiles_protocol::{AlignedBuffer, Close, Device, Errno, Message, ObjectFd, Open, Read};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// Blobs in memory, which can be made to fail.
#[derive(Default)]
struct Memory {
    blobs: HashMap<&'static [u8], Vec<u8>>,
    broken: Arc<AtomicBool>,
    changed: Arc<AtomicBool>,
}

struct MemoryBlob {
    bytes: Vec<u8>,
    broken: Arc<AtomicBool>,
    changed: Arc<AtomicBool>,
}

impl Backend for Memory {
    fn open(&self, _volume_key: &[u8], cookie_key: &[u8]) -> io::Result<Box<dyn Blob>> {
        let bytes = self.blobs.get(cookie_key).cloned().ok_or(Errno::NOENT)?;
        Ok(Box::new(MemoryBlob {
            bytes,
            broken: Arc::clone(&self.broken),
            changed: Arc::clone(&self.changed),
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
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("the store is away"));
        }
        let start = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.bytes[start..start + buffer.len()]);
        Ok(())
    }
}

struct Kernel {
    engine: Engine,
    commands: OwnedFd,
    broken: Arc<AtomicBool>,
    changed: Arc<AtomicBool>,
}

impl Kernel {
    fn new(blobs: &[(&'static [u8], Vec<u8>)]) -> Self {
        Self::with(blobs, None)
    }

    fn with(blobs: &[(&'static [u8], Vec<u8>)], identities: Option<Identities>) -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (device, commands) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let backend = Memory {
            blobs: blobs.iter().cloned().collect(),
            ..Memory::default()
        };
        let (broken, changed) = (Arc::clone(&backend.broken), Arc::clone(&backend.changed));
        let stats = Stats::create(&Stats::memory_file().unwrap()).unwrap();
        let policy = Policy {
            tries: 3,
            first_delay: Duration::from_millis(2),
            max_delay: Duration::from_millis(4),
        };
        Self {
            engine: Engine::new(
                Device::from(device),
                Box::new(backend),
                identities,
                stats,
                policy,
            ),
            commands,
            broken,
            changed,
        }
    }

    /// The next command that the daemon wrote to the device.
    fn command(&self) -> Option<String> {
        let mut bytes = [0; 256];
        let length = rustix::io::read(&self.commands, &mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    fn handle(&self, message: Message) {
        self.engine.handle(message, &mut AlignedBuffer::new(8192));
    }

    fn open(&self, msg_id: u32, object_id: u32, cookie_key: &[u8], fd: ObjectFd) {
        let (volume_key, cookie_key) = (b"erofs,image".to_vec(), cookie_key.to_vec());
        self.handle(Message::Open(Open {
            msg_id,
            object_id,
            volume_key,
            cookie_key,
            fd,
            flags: 0,
        }));
    }

    fn read(&self, msg_id: u32, object_id: u32, off: u64, len: u64) {
        self.handle(Message::Read(Read {
            msg_id,
            object_id,
            off,
            len,
        }));
    }

    /// Tries again what is due, until nothing waits.
    fn drain_retries(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Some(wait) = self.engine.time_to_due() {
            assert!(Instant::now() < deadline, "retries do not end");
            std::thread::sleep(wait);
            self.engine.handle_due(&mut AlignedBuffer::new(8192));
        }
    }
}

fn cache_file() -> (File, ObjectFd) {
    let file = Stats::memory_file().unwrap();
    let fd = ObjectFd::from(OwnedFd::from(file.try_clone().unwrap()));
    (file, fd)
}

/// An object whose writes fail, and whose closing shows.
fn broken_object() -> (File, ObjectFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (File::from(reader), ObjectFd::from(writer))
}

fn blob(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8 + 1).collect()
}

#[test]
fn an_open_is_answered_with_the_size_in_whole_pages() {
    let kernel = Kernel::new(&[
        (b"a", blob(10_000)),
        (b"empty", Vec::new()),
        (b"page", blob(4096)),
    ]);
    for (msg_id, key, size) in [(7, &b"a"[..], 12288), (8, b"empty", 0), (9, b"page", 4096)] {
        kernel.open(msg_id, msg_id, key, cache_file().1);
        assert_eq!(kernel.command(), Some(format!("copen {msg_id},{size}")));
    }
    assert_eq!(kernel.engine.stats().opens.load(Ordering::Relaxed), 3);
}

#[test]
fn an_unknown_blob_is_refused_and_its_fd_closed() {
    let kernel = Kernel::new(&[]);
    let (mut reader, fd) = broken_object();
    kernel.open(3, 1, b"absent", fd);
    assert_eq!(kernel.command().as_deref(), Some("copen 3,-2"));
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    assert_eq!(
        kernel.engine.stats().opens_refused.load(Ordering::Relaxed),
        1
    );
}

#[test]
fn a_read_writes_whole_pages_and_zeros_behind_the_end() {
    let bytes = blob(30_000);
    let kernel = Kernel::new(&[(b"a", bytes.clone())]);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    kernel.read(2, 5, 4096 + 100, 24_000);
    let mut data = vec![0xff; 28_672];
    assert_eq!(file.read_at(&mut data, 0).unwrap(), 28_672);
    assert!(
        data[..4096].iter().all(|&byte| byte == 0),
        "what was not asked for is not written"
    );
    assert_eq!(data[4096..], bytes[4096..28_672]);
    kernel.read(3, 5, 28_672, 4096);
    let mut tail = vec![0xff; 4096];
    assert_eq!(file.read_at(&mut tail, 28_672).unwrap(), 4096);
    assert_eq!(tail[..30_000 - 28_672], bytes[28_672..]);
    assert!(tail[30_000 - 28_672..].iter().all(|&byte| byte == 0));
    assert_eq!(
        kernel.engine.stats().bytes.load(Ordering::Relaxed),
        24_576 + 4096
    );
}

#[test]
fn a_read_behind_the_last_page_is_an_error_at_once_and_writes_nothing() {
    let kernel = Kernel::new(&[(b"a", blob(30_000))]);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    assert_eq!(kernel.command().as_deref(), Some("copen 1,32768"));
    for (msg_id, off, len) in [(2, 28_672, 8192), (3, 32_768, 4096), (4, 1 << 40, 1)] {
        kernel.read(msg_id, 5, off, len);
        assert_eq!(kernel.command(), Some(format!("cfail {msg_id},-5")));
    }
    assert_eq!(file.metadata().unwrap().len(), 0);
    assert_eq!(kernel.engine.time_to_due(), None);
}

#[test]
fn a_blob_that_changes_while_it_is_served_fails_its_reads_at_once() {
    let kernel = Kernel::new(&[(b"a", blob(4096))]);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    kernel.command();
    kernel.changed.store(true, Ordering::Relaxed);
    kernel.read(2, 5, 0, 4096);
    assert_eq!(kernel.command().as_deref(), Some("cfail 2,-5"));
    assert_eq!(file.metadata().unwrap().len(), 0);
}

#[test]
fn another_blob_of_the_same_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = |length| {
        let identities = Identities::new(dir.path()).unwrap();
        let kernel = Kernel::with(&[(b"a", blob(length))], Some(identities));
        kernel.open(1, 5, b"a", cache_file().1);
        kernel.command()
    };
    assert_eq!(open(4096).as_deref(), Some("copen 1,4096"));
    assert_eq!(open(8192).as_deref(), Some("copen 1,-116"));
    assert_eq!(open(4096).as_deref(), Some("copen 1,4096"));
}

#[test]
fn a_failed_fetch_writes_nothing_and_is_tried_again() {
    let kernel = Kernel::new(&[(b"a", blob(4096))]);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    kernel.broken.store(true, Ordering::Relaxed);
    kernel.read(2, 5, 0, 4096);
    assert_eq!(file.metadata().unwrap().len(), 0);
    assert!(kernel.engine.time_to_due().is_some());
    kernel.broken.store(false, Ordering::Relaxed);
    std::thread::sleep(kernel.engine.time_to_due().unwrap());
    kernel.engine.handle_due(&mut AlignedBuffer::new(4096));
    assert_eq!(file.metadata().unwrap().len(), 4096);
}

#[test]
fn the_last_failure_fails_the_read_and_keeps_the_object() {
    let kernel = Kernel::new(&[(b"a", blob(4096))]);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    assert_eq!(kernel.command().as_deref(), Some("copen 1,4096"));
    kernel.broken.store(true, Ordering::Relaxed);
    kernel.read(2, 5, 0, 4096);
    kernel.drain_retries();
    assert_eq!(kernel.command().as_deref(), Some("cfail 2,-5"));
    assert_eq!(kernel.command(), None);
    kernel.broken.store(false, Ordering::Relaxed);
    kernel.read(3, 5, 0, 4096);
    assert_eq!(file.metadata().unwrap().len(), 4096);
}

#[test]
fn without_cfail_the_last_failure_closes_the_object_so_that_the_kernel_reopens_it() {
    let kernel = Kernel::new(&[(b"a", blob(4096))]);
    let (mut reader, fd) = broken_object();
    kernel.open(1, 5, b"a", fd);
    // It takes no command any more.
    rustix::net::shutdown(&kernel.commands, rustix::net::Shutdown::Both).unwrap();
    kernel.read(2, 5, 0, 4096);
    kernel.drain_retries();
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    let stats = kernel.engine.stats();
    assert_eq!(stats.retries.load(Ordering::Relaxed), 2);
    assert_eq!(stats.reads_completed.load(Ordering::Relaxed), 0);
}

#[test]
fn a_read_of_an_unknown_object_ends_after_its_tries() {
    let kernel = Kernel::new(&[]);
    kernel.read(2, 99, 0, 4096);
    kernel.drain_retries();
    assert_eq!(
        kernel
            .engine
            .stats()
            .reads_completed
            .load(Ordering::Relaxed),
        0
    );
    assert_eq!(kernel.engine.stats().retries.load(Ordering::Relaxed), 2);
}

#[test]
fn a_close_drops_the_fd_of_its_object_only() {
    let kernel = Kernel::new(&[(b"a", blob(1))]);
    let (mut first, first_fd) = broken_object();
    let (second, second_fd) = broken_object();
    kernel.open(1, 5, b"a", first_fd);
    kernel.open(2, 6, b"a", second_fd);
    kernel.handle(Message::Close(Close {
        msg_id: 3,
        object_id: 5,
    }));
    kernel.handle(Message::Close(Close {
        msg_id: 4,
        object_id: 77,
    }));
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
    rustix::io::ioctl_fionbio(&second, true).unwrap();
    assert_eq!(
        (&second).read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    assert_eq!(kernel.engine.stats().closes.load(Ordering::Relaxed), 2);
}

#[test]
fn a_range_beyond_64_bits_is_never_served() {
    let kernel = Kernel::new(&[(b"a", blob(4096))]);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    kernel.read(2, 5, u64::MAX - 10, 4096);
    kernel.drain_retries();
    assert_eq!(file.metadata().unwrap().len(), 0);
}
