// SPDX-License-Identifier: GPL-2.0
//! What the tests of the processes share: a stand-in for the device, and how to wait.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use cachefiles_protocol::WireMessage;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_cachefiles-ondemandd");

/// A socket whose other end a daemon takes for `/dev/cachefiles`: one message a read, one command a
/// write.
pub struct FakeDevice {
    ours: OwnedFd,
}

impl FakeDevice {
    /// The device, and the end to give to the daemon.
    pub fn new() -> (Self, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        (Self { ours }, theirs)
    }

    /// Sends a message, as the kernel would.
    pub fn send(&self, message: &WireMessage) {
        self.send_bytes(&message.encode());
    }

    /// Sends anything.
    pub fn send_bytes(&self, bytes: &[u8]) {
        rustix::io::write(&self.ours, bytes).unwrap();
    }

    /// The next command, if there is one.
    pub fn command(&self) -> Option<String> {
        let mut bytes = [0; 256];
        let length = rustix::io::read(&self.ours, &mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }
}

/// Waits until `condition` gives something.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
