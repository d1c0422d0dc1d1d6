// SPDX-License-Identifier: GPL-2.0
//! How the hostile processes pass each other fds and requests: one socket that all of them send to
//! and receive from. What is in it belongs to nobody until somebody takes it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cachefiles_protocol::{Device, Errno, Read, recv_fds, send_fds};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::handles::Held;

/// The two ends of the socket.
pub struct FdExchange {
    inbox: OwnedFd,
    outbox: OwnedFd,
}

/// What is passed on.
pub enum Packet {
    /// The device.
    Device(Device),
    /// An object.
    Object(Held),
    /// A READ that the sender has no fd for, or does not care for.
    Read(Read),
}

impl FdExchange {
    /// A new socket with nothing in it.
    pub fn open() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (outbox, inbox) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok(Self { inbox, outbox })
    }

    /// The one that this program was started with.
    pub fn from_ends(inbox: OwnedFd, outbox: OwnedFd) -> Self {
        Self { inbox, outbox }
    }

    /// Its ends: to receive from, and to send to.
    pub fn ends(&self) -> (&OwnedFd, &OwnedFd) {
        (&self.inbox, &self.outbox)
    }

    /// Passes the device on. `EAGAIN` where too much lies in the socket.
    pub fn send_device(&self, device: &Device) -> Result<(), Errno> {
        self.send("device", &[device.as_fd()])
    }

    /// Passes an object on.
    pub fn send_object(&self, held: &Held) -> Result<(), Errno> {
        let key = String::from_utf8_lossy(&held.key);
        self.send(
            &format!("object {} {key}", held.object_id),
            &[held.fd.as_fd()],
        )
    }

    /// Passes a READ on.
    pub fn send_read(&self, read: &Read) -> Result<(), Errno> {
        let Read {
            msg_id,
            object_id,
            off,
            len,
        } = read;
        self.send(&format!("read {msg_id} {object_id} {off} {len}"), &[])
    }

    fn send(&self, text: &str, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        send_fds(&self.outbox, text.as_bytes(), fds).map(drop)
    }

    /// Takes something out. `EAGAIN` where there is nothing.
    pub fn receive(&self) -> Result<Packet, Errno> {
        let mut buffer = [0; 256];
        let (length, fds) = recv_fds(&self.inbox, &mut buffer)?;
        let text = buffer.get(..length).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| Errno::ILSEQ)?;
        parse(text, fds.into_iter().next()).ok_or(Errno::BADMSG)
    }
}

fn parse(text: &str, fd: Option<OwnedFd>) -> Option<Packet> {
    let mut words = text.split(' ');
    match words.next()? {
        "device" => Some(Packet::Device(fd?.into())),
        "object" => Some(Packet::Object(Held {
            object_id: words.next()?.parse().ok()?,
            key: words.next()?.as_bytes().to_vec(),
            fd: fd?.into(),
        })),
        "read" => {
            let mut number = || words.next()?.parse::<u64>().ok();
            Some(Packet::Read(Read {
                msg_id: number()?.try_into().ok()?,
                object_id: number()?.try_into().ok()?,
                off: number()?,
                len: number()?,
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_arrive_as_they_were_sent() {
        let exchange = FdExchange::open().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let held = Held {
            key: b"sure-1".to_vec(),
            object_id: 7,
            fd: OwnedFd::from(null).into(),
        };
        let read = Read {
            msg_id: 1,
            object_id: 7,
            off: 1 << 40,
            len: 4096,
        };
        exchange.send_object(&held).unwrap();
        exchange.send_read(&read).unwrap();
        match exchange.receive() {
            Ok(Packet::Object(seen)) => {
                assert_eq!((seen.object_id, &seen.key[..]), (7, &b"sure-1"[..]));
            }
            _ => panic!("no object"),
        }
        assert!(matches!(exchange.receive(), Ok(Packet::Read(seen)) if seen == read));
        assert!(matches!(exchange.receive(), Err(Errno::AGAIN)));
    }
}
