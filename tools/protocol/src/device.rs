// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The control device: commands, messages, waiting.
//!
//! Errors are the kernel's errnos, untouched: which one means what is in the uAPI documentation.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use crate::message::{DecodeError, Message, WireMessage};
use crate::object::ObjectFd;

/// Where udev and devtmpfs put the device.
pub const DEVICE_PATH: &str = "/dev/cachefiles";

/// The control device. One open file of it at a time exists in the system, though it may have
/// several fds, in several processes: whoever holds one keeps the cache and its requests alive.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
}

/// One of the free-space limits, in percent of the backing filesystem: files (`f`) and blocks
/// (`b`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Free files above which culling stops.
    Frun,
    /// Free files below which culling starts.
    Fcull,
    /// Free files below which nothing more is stored.
    Fstop,
    /// Free blocks above which culling stops.
    Brun,
    /// Free blocks below which culling starts.
    Bcull,
    /// Free blocks below which nothing more is stored.
    Bstop,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frun => "frun",
            Self::Fcull => "fcull",
            Self::Fstop => "fstop",
            Self::Brun => "brun",
            Self::Bcull => "bcull",
            Self::Bstop => "bstop",
        })
    }
}

/// Why no message could be taken from the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReceiveError {
    /// The read failed: `EMSGSIZE` if the buffer is too small, `EMFILE` if there is no room for
    /// the fd of an OPEN.
    #[error("reading the cachefiles device: {0}")]
    Read(#[from] Errno),
    /// The kernel sent something this crate does not understand.
    #[error("malformed message from the cachefiles device: {0}")]
    Decode(#[from] DecodeError),
}

impl From<OwnedFd> for Device {
    /// Takes over an fd that was opened elsewhere: by systemd, by a supervisor.
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl From<Device> for OwnedFd {
    fn from(device: Device) -> Self {
        device.fd
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Device {
    /// For runtimes that ask for a number, such as tokio's `AsyncFd`.
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Device {
    /// Opens [`DEVICE_PATH`]. `EPERM` without `CAP_SYS_ADMIN`, `EBUSY` if it is open already,
    /// `ENOENT` if the module is not loaded.
    pub fn open() -> Result<Self, Errno> {
        Self::open_path(DEVICE_PATH.as_ref())
    }

    /// The same for a device node at another place.
    pub fn open_path(path: &Path) -> Result<Self, Errno> {
        rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map(Self::from)
    }

    /// Another fd of the same open device, for a holder that must outlive this one.
    pub fn try_clone(&self) -> Result<Self, Errno> {
        rustix::io::fcntl_dupfd_cloexec(&self.fd, 0).map(Self::from)
    }

    /// Gives the device one command, such as `tag mycache`.
    pub fn command(&self, command: &str) -> Result<(), Errno> {
        self.command_bytes(command.as_bytes())
    }

    /// The same for a command with a path in it, which need not be UTF-8.
    pub fn command_bytes(&self, command: &[u8]) -> Result<(), Errno> {
        // A command takes effect as a whole or not at all: there is no short write to continue.
        rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, command)).map(drop)
    }

    /// Sets a free-space limit. The kernel checks the order stop < cull < run at each step.
    pub fn set_limit(&self, limit: Limit, percent: u8) -> Result<(), Errno> {
        self.command(&format!("{limit} {percent}%"))
    }

    /// Names the cache directory and tag, and brings the cache up in on-demand mode.
    ///
    /// `EINVAL` for a name that the command language cannot carry: with a newline or a NUL in it,
    /// empty, or starting with a blank.
    pub fn bind_ondemand(&self, dir: &Path, tag: Option<&str>) -> Result<(), Errno> {
        self.set_names(dir, tag)?;
        self.command("bind ondemand")
    }

    /// The same in the original mode: a cache for network file systems, for which no message ever
    /// comes.
    pub fn bind(&self, dir: &Path, tag: Option<&str>) -> Result<(), Errno> {
        self.set_names(dir, tag)?;
        self.command("bind")
    }

    fn set_names(&self, dir: &Path, tag: Option<&str>) -> Result<(), Errno> {
        self.word("dir", dir.as_os_str().as_bytes())?;
        match tag {
            Some(tag) => self.word("tag", tag.as_bytes()),
            None => Ok(()),
        }
    }

    /// Sets the security context that the kernel works in the cache with. Once, before the cache is
    /// bound.
    ///
    /// `EINVAL` if it is set already or names nothing, or where [`Device::bind_ondemand`] says so.
    pub fn set_secctx(&self, context: &str) -> Result<(), Errno> {
        self.word("secctx", context.as_bytes())
    }

    /// Removes a file of the cache, or a whole directory of it, that nobody uses. It is looked up
    /// in the *working directory* of the calling thread, which has to be one below `cache` in the
    /// cache directory.
    ///
    /// `EBUSY` if it is in use, `ENOENT` or `ESTALE` if it is gone, `EXDEV` if the working
    /// directory is another.
    pub fn cull(&self, name: &OsStr) -> Result<(), Errno> {
        self.word("cull", name.as_bytes())
    }

    /// Whether such a file or directory is in use; the name means what it means to
    /// [`Device::cull`].
    pub fn is_in_use(&self, name: &OsStr) -> Result<bool, Errno> {
        match self.word("inuse", name.as_bytes()) {
            Ok(()) => Ok(false),
            Err(Errno::BUSY) => Ok(true),
            Err(errno) => Err(errno),
        }
    }

    /// A command with one argument.
    fn word(&self, verb: &str, argument: &[u8]) -> Result<(), Errno> {
        let blank_first = argument.first().is_none_or(u8::is_ascii_whitespace);
        if blank_first || argument.contains(&b'\n') || argument.contains(&0) {
            return Err(Errno::INVAL);
        }
        self.command_bytes(&[verb.as_bytes(), b" ", argument].concat())
    }

    /// Answers an OPEN: the object's size in bytes, or the errno the opener shall see.
    pub fn copen(&self, msg_id: u32, size: Result<u64, Errno>) -> Result<(), Errno> {
        match size {
            Ok(size) => self.command(&format!("copen {msg_id},{size}")),
            Err(errno) => self.command(&format!("copen {msg_id},-{}", errno.raw_os_error())),
        }
    }

    /// Fails a READ: those who wait for it get the errno. It must have been read from the device,
    /// and not be completed.
    ///
    /// `EINVAL` where it is gone: it was answered, or its reader was killed. `EOPNOTSUPP` where the
    /// kernel has no such command: see [`Device::has_cfail`].
    pub fn cfail(&self, msg_id: u32, errno: Errno) -> Result<(), Errno> {
        self.command(&format!("cfail {msg_id},-{}", errno.raw_os_error()))
    }

    /// Whether the kernel has [`Device::cfail`], which the C module of Linux 6.12 has not. Asks it
    /// by the command without an argument, so the device must be bound in on-demand mode.
    pub fn has_cfail(&self) -> Result<bool, Errno> {
        match self.command("cfail") {
            Ok(()) | Err(Errno::INVAL) => Ok(true),
            Err(Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Gives every request so many seconds to be answered, from when it was made; 0 is for ever,
    /// and what a cache begins with. Those who wait for one that is not answered in time get
    /// `ETIMEDOUT`.
    ///
    /// Before or after the cache is bound. `EINVAL` for more than a day (86,400); `EOPNOTSUPP`
    /// where the kernel has no such command, or the cache is bound in the original mode.
    pub fn set_timeout(&self, seconds: u32) -> Result<(), Errno> {
        self.command(&format!("timeout {seconds}"))
    }

    /// Has the cache wait so many seconds for its next daemon, when nobody has the device any more;
    /// 0 is not at all. Those who need a daemon wait meanwhile.
    ///
    /// Before or after the cache is bound. `EINVAL` for more than a day (86,400); `EOPNOTSUPP`
    /// where the kernel has no such command, or the cache is bound in the original mode.
    pub fn set_linger(&self, seconds: u32) -> Result<(), Errno> {
        self.command(&format!("linger {seconds}"))
    }

    /// Has images whose blobs are in the cache as a whole mounted and read without an OPEN. Their
    /// sizes are those of the time when they were stored. The OPEN of such a blob comes with the
    /// first READ, if somebody has removed data.
    ///
    /// Before the cache is bound, else `EBUSY`. `EOPNOTSUPP` where the kernel has no such command.
    pub fn set_daemonless(&self, is_daemonless: bool) -> Result<(), Errno> {
        self.command(&format!("daemonless {}", u8::from(is_daemonless)))
    }

    /// Has the cache take network file systems as well, as in the original mode. No message is of
    /// their files.
    ///
    /// Before the cache is bound, else `EBUSY`. `EOPNOTSUPP` where the kernel has no such command.
    pub fn set_mixed(&self, is_mixed: bool) -> Result<(), Errno> {
        self.command(&format!("mixed {}", u8::from(is_mixed)))
    }

    /// Has the kernel ask so many KiB ahead of those who read in sequence; 0 is not at all. They
    /// are ordinary READs, several at a time, some of which nobody waits for yet.
    ///
    /// Before or after the cache is bound. `EINVAL` for more than 16,384; `EOPNOTSUPP` where the
    /// kernel has no such command, or the cache is bound in the original mode.
    pub fn set_readahead(&self, kib: u32) -> Result<(), Errno> {
        self.command(&format!("readahead {kib}"))
    }

    /// Takes over the cache `tag`, which waits for its next daemon or is kept for what is mounted,
    /// with its settings. The first command of a device.
    ///
    /// `ENOENT` there is no such cache; `EBUSY` somebody has it, or the device is set up already;
    /// `EPERM` another user has bound it; `EOPNOTSUPP` where the kernel has no such command.
    pub fn attach(&self, tag: &str) -> Result<(), Errno> {
        self.command(&format!("attach {tag}"))
    }

    /// Makes every request that an earlier daemon took but did not answer readable again.
    pub fn restore(&self) -> Result<(), Errno> {
        self.command("restore")
    }

    /// Takes the next message, or `None` if there is none: this never blocks.
    ///
    /// The fd of an OPEN becomes owned here, at once, and close-on-exec: kernels are known that
    /// hand it out inheritable, and a child that inherits it keeps the object open when this
    /// process has crashed, so that the object is never reopened.
    pub fn read_message(&self, buffer: &mut [u8]) -> Result<Option<Message>, ReceiveError> {
        let length = match rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut *buffer)) {
            // What a stand-in for the device says, such as a non-blocking socket in a test.
            Err(Errno::AGAIN) => return Ok(None),
            other => other?,
        };
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
            return Ok(None);
        };
        let message = WireMessage::try_from(bytes)?;
        Ok(Some(message.map_fd(ObjectFd::adopt)))
    }

    /// Whether the cache's disk is fuller than `bcull` or `fcull` say: something is to be removed.
    pub fn wants_culling(&self) -> Result<bool, Errno> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&Timespec::default())))?;
        let [device] = fds;
        Ok(device.revents().contains(PollFlags::OUT))
    }

    /// Waits until a message can be read; `false` if the time (if any) ran out, or on a signal.
    pub fn wait_readable(&self, timeout: Option<Duration>) -> Result<bool, Errno> {
        let timeout = timeout
            .map(Timespec::try_from)
            .transpose()
            .map_err(|_| Errno::INVAL)?;
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}
