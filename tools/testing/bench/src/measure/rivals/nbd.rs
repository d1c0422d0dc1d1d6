// SPDX-License-Identifier: GPL-2.0
//! A server of network block devices that fetches what is read: what somebody would write to have
//! an image on a disk that is not there. And the kernel's client of it, at the other end of a
//! socket.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::image::BLOCK;
use cachefiles_harness::sys;
use cachefiles_harness::task::{Task, soon};
use rustix::ioctl::{IntegerSetter, Opcode, ioctl};

use super::local::Local;

/// The device.
pub const DEVICE: &str = "/dev/nbd0";
/// Where the kernel shows it.
pub const SHOWN: &str = "/sys/block/nbd0";

/// What begins a request and a reply: `include/uapi/linux/nbd.h`.
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// The kinds of request that there are here.
const READ: u16 = 0;
const DISCONNECT: u16 = 2;
/// Bytes of a request without data, and of a reply.
const REQUEST_SIZE: usize = 28;
const REPLY_SIZE: usize = 16;

/// What is wanted, and where.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    kind: u16,
    /// Comes back with the reply.
    cookie: [u8; 8],
    offset: u64,
    length: u32,
}

impl Request {
    fn parse(bytes: &[u8; REQUEST_SIZE]) -> io::Result<Self> {
        fn part<const N: usize>(bytes: &[u8; REQUEST_SIZE], at: usize) -> [u8; N] {
            std::array::from_fn(|byte| bytes[at + byte])
        }
        if u32::from_be_bytes(part(bytes, 0)) != REQUEST {
            return Err(io::Error::other("not a request"));
        }
        // The two bytes between are flags.
        Ok(Self {
            kind: u16::from_be_bytes(part(bytes, 6)),
            cookie: part(bytes, 8),
            offset: u64::from_be_bytes(part(bytes, 16)),
            length: u32::from_be_bytes(part(bytes, 24)),
        })
    }
}

/// Serves until the client goes.
fn serve(stream: UnixStream, local: &Local) -> io::Result<()> {
    let mut requests = BufReader::new(stream.try_clone()?);
    // A reply is sent as a whole.
    let replies = Arc::new(Mutex::new(stream));
    let mut bytes = [0; REQUEST_SIZE];
    loop {
        requests.read_exact(&mut bytes)?;
        let Request {
            kind,
            cookie,
            offset,
            length,
        } = Request::parse(&bytes)?;
        let replies = Arc::clone(&replies);
        let send = move |data: io::Result<&[u8]>| {
            let mut stream = replies.lock().unwrap_or_else(PoisonError::into_inner);
            // Who has gone needs none.
            let _ = reply(&mut *stream, cookie, length, data);
        };
        match kind {
            READ => local.read(offset, length as usize, send),
            DISCONNECT => return Ok(()),
            // Writes would bring data behind the request.
            _ => return Err(io::Error::other(format!("a request of kind {kind}"))),
        }
    }
}

/// Sends what was read, or that it can't be.
fn reply(
    stream: &mut impl Write,
    cookie: [u8; 8],
    length: u32,
    data: io::Result<&[u8]>,
) -> io::Result<()> {
    let (error, data) = match data {
        Ok(data) if data.len() == length as usize => (0, data),
        Ok(_) => (libc::EINVAL, [].as_slice()),
        Err(error) => (error.raw_os_error().unwrap_or(libc::EIO), [].as_slice()),
    };
    let mut head = [0; REPLY_SIZE];
    head[..4].copy_from_slice(&REPLY.to_be_bytes());
    head[4..8].copy_from_slice(&error.to_be_bytes());
    head[8..].copy_from_slice(&cookie);
    // At most times one call sends all.
    let sent = stream.write_vectored(&[IoSlice::new(&head), IoSlice::new(data)])?;
    stream.write_all(&head[sent.min(REPLY_SIZE)..])?;
    stream.write_all(&data[sent.saturating_sub(REPLY_SIZE)..])
}

/// The node of the device, open: what the kernel's client is told by it.
struct Control(File);

impl Control {
    const SET_SOCK: Opcode = 0xab00;
    const SET_BLKSIZE: Opcode = 0xab01;
    const DO_IT: Opcode = 0xab03;
    const CLEAR_SOCK: Opcode = 0xab04;
    const SET_SIZE_BLOCKS: Opcode = 0xab07;
    const DISCONNECT: Opcode = 0xab08;
    const SET_FLAGS: Opcode = 0xab0a;
    /// `NBD_FLAG_HAS_FLAGS` and `NBD_FLAG_READ_ONLY`.
    const READ_ONLY: usize = 3;

    fn open() -> Result<Self> {
        let node = OpenOptions::new().read(true).write(true).open(DEVICE);
        Ok(Self(node.with_context(|| format!("opening {DEVICE}"))?))
    }

    fn tell<const WHAT: Opcode>(&self, value: usize) -> rustix::io::Result<()> {
        // SAFETY: the file is a node of the NBD driver, as nothing else is made of it; that takes
        // the values of all these commands as numbers, never as addresses.
        unsafe { ioctl(&self.0, IntegerSetter::<WHAT>::new_usize(value)) }
    }

    /// Makes a disk of `blocks` blocks of the other end of `socket`, until it is told to end.
    fn run(&self, socket: &UnixStream, blocks: usize) -> rustix::io::Result<()> {
        self.tell::<{ Self::SET_BLKSIZE }>(BLOCK)?;
        self.tell::<{ Self::SET_SIZE_BLOCKS }>(blocks)?;
        self.tell::<{ Self::SET_FLAGS }>(Self::READ_ONLY)?;
        self.tell::<{ Self::SET_SOCK }>(socket.as_raw_fd().try_into().unwrap_or_default())?;
        self.tell::<{ Self::DO_IT }>(0)
    }
}

/// A disk that is served.
pub struct Disk {
    control: Arc<Control>,
    client: Task<rustix::io::Result<()>>,
    server: Task<io::Result<()>>,
}

impl Disk {
    /// Makes it.
    pub fn new(local: Arc<Local>) -> Result<Self> {
        let control = Arc::new(Control::open()?);
        let (ours, theirs) = UnixStream::pair()?;
        let blocks = local.size() / BLOCK;
        let server = Task::start("the NBD server", move || serve(ours, &local));
        let telling = Arc::clone(&control);
        let client = Task::start("the NBD client", move || telling.run(&theirs, blocks));
        let disk = Self {
            control,
            client,
            server,
        };
        sys::wait_for("the disk", soon(), || {
            disk.client.is_done() || disk.is_there(blocks)
        })?;
        ensure!(disk.is_there(blocks), "the NBD client has ended");
        Ok(disk)
    }

    fn is_there(&self, blocks: usize) -> bool {
        let sectors = blocks * BLOCK / 512;
        Path::new(SHOWN).join("pid").exists()
            && fs::read_to_string(Path::new(SHOWN).join("size"))
                .is_ok_and(|size| size.trim() == sectors.to_string())
    }

    /// Takes it away.
    pub fn remove(self) -> Result<()> {
        self.control
            .tell::<{ Control::DISCONNECT }>(0)
            .context("disconnecting")?;
        self.server.finish()?.context("the NBD server")?;
        self.client.finish()?.context("the NBD client")?;
        self.control
            .tell::<{ Control::CLEAR_SOCK }>(0)
            .context("clearing the socket")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ask(stream: &mut UnixStream, kind: u16, cookie: u64, offset: u64, length: u32) {
        let mut bytes = REQUEST.to_be_bytes().to_vec();
        bytes.extend([0; 2]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(cookie.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        stream.write_all(&bytes).unwrap();
    }

    fn answer(stream: &mut UnixStream, length: usize) -> (u32, u64, Vec<u8>) {
        let mut head = [0; REPLY_SIZE];
        stream.read_exact(&mut head).unwrap();
        let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        assert_eq!(number(0), REPLY);
        let mut data = vec![0; if number(4) == 0 { length } else { 0 }];
        stream.read_exact(&mut data).unwrap();
        let cookie = u64::from_be_bytes(head[8..].try_into().unwrap());
        (number(4), cookie, data)
    }

    #[test]
    fn a_client_reads_what_the_server_has() {
        let directory = tempfile::tempdir().unwrap();
        let source: Vec<u8> = (0..256 * BLOCK).map(|at| (at / 5) as u8).collect();
        let path = directory.path().join("cache");
        let local = Local::new(source.clone(), &path, Duration::from_millis(20)).unwrap();
        let local = &local;
        std::thread::scope(|scope| {
            // Closed where a check fails, which ends the server.
            let (mut client, server) = UnixStream::pair().unwrap();
            let serving = scope.spawn(move || serve(server, local));
            let cookie = 0x0123_4567_89ab_cdef;
            ask(&mut client, READ, cookie, 4096, 255 * 4096);
            let whole = (0, cookie, source[4096..].to_vec());
            assert!(answer(&mut client, 255 * 4096) == whole);
            assert_eq!(local.settle().unwrap(), (1, 1));
            // One is here and one is not: what is here does not wait.
            ask(&mut client, READ, 1, 0, 4096);
            ask(&mut client, READ, 2, 8192, 4096);
            let near = (0, 2, source[8192..][..4096].to_vec());
            assert!(answer(&mut client, 4096) == near);
            assert!(answer(&mut client, 4096) == (0, 1, source[..4096].to_vec()));
            assert_eq!(local.settle().unwrap(), (1, 2));
            // Behind the end.
            ask(&mut client, READ, 3, 256 * 4096, 4096);
            assert!(answer(&mut client, 4096) == (libc::EINVAL as u32, 3, Vec::new()));
            ask(&mut client, DISCONNECT, 4, 0, 0);
            serving.join().unwrap().unwrap();
        });
    }

    /// Takes some bytes at a time.
    struct Slow(Vec<u8>, usize);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.1);
            self.0.extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reply_is_whole_however_much_is_taken_at_once() {
        for at_once in [1, 15, 16, 17, 100] {
            let mut slow = Slow(Vec::new(), at_once);
            reply(&mut slow, [9; 8], 40, Ok(&[5; 40])).unwrap();
            let expected = [&REPLY.to_be_bytes()[..], &[0; 4], &[9; 8], &[5; 40]].concat();
            assert_eq!(slow.0, expected, "{at_once} at once");
        }
    }

    #[test]
    fn what_is_no_request_ends_the_server() {
        assert!(Request::parse(&[0; REQUEST_SIZE]).is_err());
    }
}
