// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is written to the device, and what becomes of what is read, with a socket in its place.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use cachefiles_protocol::{
    Close, DecodeError, Device, Errno, Limit, MAX_MESSAGE_SIZE, Message, Open, ReceiveError,
    WireMessage,
};
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

struct Fake {
    device: Device,
    kernel: OwnedFd,
}

impl Fake {
    fn new() -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (device, kernel) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        Self {
            device: Device::from(device),
            kernel,
        }
    }

    fn commands(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let mut next = || {
            rustix::io::read(&self.kernel, &mut bytes)
                .ok()
                .map(|n| bytes[..n].to_vec())
        };
        std::iter::from_fn(|| next().map(|bytes| String::from_utf8(bytes).unwrap())).collect()
    }

    fn send(&self, bytes: &[u8]) {
        rustix::io::write(&self.kernel, bytes).unwrap();
    }

    fn receive(&self) -> Result<Option<Message>, ReceiveError> {
        self.device.read_message(&mut [0; MAX_MESSAGE_SIZE])
    }
}

#[test]
fn each_operation_is_one_command() {
    let fake = Fake::new();
    let Fake { device, .. } = &fake;
    device.set_limit(Limit::Frun, 20).unwrap();
    device.set_limit(Limit::Bstop, 0).unwrap();
    device.copen(7, Ok(1 << 40)).unwrap();
    device.copen(u32::MAX, Err(Errno::NOENT)).unwrap();
    device.restore().unwrap();
    device.command("debug 3").unwrap();
    let wanted = [
        "frun 20%",
        "bstop 0%",
        "copen 7,1099511627776",
        "copen 4294967295,-2",
        "restore",
        "debug 3",
    ];
    assert_eq!(fake.commands(), wanted);
}

#[test]
fn binding_names_directory_and_tag_first() {
    let fake = Fake::new();
    fake.device
        .bind_ondemand(Path::new("/var/cache/with blank"), Some("tag"))
        .unwrap();
    fake.device.bind_ondemand(Path::new("/x"), None).unwrap();
    let wanted = [
        "dir /var/cache/with blank",
        "tag tag",
        "bind ondemand",
        "dir /x",
        "bind ondemand",
    ];
    assert_eq!(fake.commands(), wanted);
}

#[test]
fn names_that_the_command_language_cannot_carry_are_refused() {
    let fake = Fake::new();
    for dir in ["", " /x", "\t/x", "/x\ny", "/x\0y"] {
        assert_eq!(
            fake.device.bind_ondemand(Path::new(dir), None),
            Err(Errno::INVAL),
            "{dir:?}"
        );
    }
    assert_eq!(fake.commands(), Vec::<String>::new());
}

#[test]
fn the_fd_of_an_open_is_owned_and_close_on_exec() {
    let fake = Fake::new();
    let (file, name) = (tempfile::tempfile().unwrap(), b"erofs,x".to_vec());
    // Inheritable, as the C module installs it.
    let number = rustix::io::dup(&file).unwrap().into_raw_fd();
    let open = Open {
        msg_id: 1,
        object_id: 2,
        volume_key: name,
        cookie_key: b"x".to_vec(),
        fd: number,
        flags: 0,
    };
    fake.send(&WireMessage::Open(open).encode());
    let Ok(Some(Message::Open(open))) = fake.receive() else {
        panic!("no OPEN")
    };
    assert_eq!(rustix::io::fcntl_getfd(&open.fd), Ok(FdFlags::CLOEXEC));
    open.fd.write_at(b"data", 3).unwrap();
    let mut bytes = [0; 7];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"\0\0\0data");
    assert_eq!(open.fd.seek_data(0), Ok(0));
    assert_eq!(open.fd.seek_hole(0), Ok(7));
    assert_eq!(open.fd.seek_data(8), Err(Errno::NXIO));
    drop(open);
    assert!(!Path::new(&format!("/proc/self/fd/{number}")).exists());
}

#[test]
fn nothing_to_read_is_none_and_garbage_an_error() {
    let fake = Fake::new();
    assert_eq!(fake.device.wait_readable(Some(Duration::ZERO)), Ok(false));
    assert!(matches!(fake.receive(), Ok(None)));
    fake.send(b"garbage");
    assert_eq!(fake.device.wait_readable(None), Ok(true));
    let error = ReceiveError::Decode(DecodeError::TooShort { got: 7, wanted: 16 });
    assert_eq!(fake.receive().unwrap_err(), error);
    fake.send(
        &WireMessage::Close(Close {
            msg_id: 4,
            object_id: 5,
        })
        .encode(),
    );
    assert!(matches!(
        fake.receive(),
        Ok(Some(Message::Close(Close {
            msg_id: 4,
            object_id: 5
        })))
    ));
    drop(fake.kernel);
    assert!(matches!(fake.device.read_message(&mut [0; 16]), Ok(None)));
}

#[test]
fn a_device_that_is_not_there_is_enoent() {
    assert_eq!(
        Device::open_path(Path::new("/absent")).unwrap_err(),
        Errno::NOENT
    );
    let file = File::open("/dev/null").unwrap();
    let read_only = Device::from(OwnedFd::from(file));
    assert_eq!(read_only.restore(), Err(Errno::BADF));
}

#[test]
fn every_command_of_the_interface_has_its_words() {
    let fake = Fake::new();
    let Fake { device, .. } = &fake;
    device
        .set_secctx("system_u:object_r:cachefiles_var_t:s0")
        .unwrap();
    device.bind(Path::new("/x"), Some("tag")).unwrap();
    device.cull(OsStr::new("Dblob")).unwrap();
    assert_eq!(device.is_in_use(OsStr::new("@4f")), Ok(false));
    device.cfail(8, Errno::IO).unwrap();
    device.set_timeout(30).unwrap();
    let wanted = [
        "secctx system_u:object_r:cachefiles_var_t:s0",
        "dir /x",
        "tag tag",
        "bind",
        "cull Dblob",
        "inuse @4f",
        "cfail 8,-5",
        "timeout 30",
    ];
    assert_eq!(fake.commands(), wanted);
    for name in ["", " a", "a\nb", "a\0b"] {
        assert_eq!(device.cull(OsStr::new(name)), Err(Errno::INVAL), "{name:?}");
    }
    assert_eq!(fake.commands(), Vec::<String>::new());
}

#[test]
fn the_raw_number_is_that_of_the_fd() {
    let fake = Fake::new();
    assert_eq!(fake.device.as_raw_fd(), fake.device.as_fd().as_raw_fd());
}
