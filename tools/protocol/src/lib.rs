// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The on-demand interface of cachefiles, for daemons.
//!
//! This crate knows the format of what passes through `/dev/cachefiles` and how to perform each
//! operation on the device and on the anonymous fds it hands out. It holds no policy: no threads,
//! no retries, no table of objects. The interface is described in the kernel's
//! `Documentation/filesystems/caching/cachefiles.rst` and `include/uapi/linux/cachefiles.h`.
//!
//! A daemon's life in five calls:
//!
//! ```no_run
//! use cachefiles_protocol::{Device, MAX_MESSAGE_SIZE, Message};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = Device::open()?;
//! device.bind_ondemand("/cache".as_ref(), Some("example"))?;
//! let mut buffer = [0; MAX_MESSAGE_SIZE];
//! device.wait_readable(None)?;
//! match device.read_message(&mut buffer)? {
//!     Some(Message::Open(open)) => device.copen(open.msg_id, Ok(4096))?,
//!     Some(Message::Read(_) | Message::Close(_)) | None => {}
//! }
//! # Ok(())
//! # }
//! ```

mod buffer;
mod device;
mod fd_passing;
mod key;
mod message;
mod object;

pub use buffer::AlignedBuffer;
pub use device::{DEVICE_PATH, Device, Limit, ReceiveError};
pub use fd_passing::{MAX_PASSED_FDS, recv_fds, send_fds};
pub use key::{cookie_file_name, fanout_name, fscache_hash, key_path, volume_dir_name};
pub use message::{
    Close, DecodeError, HEADER_SIZE, MAX_MESSAGE_SIZE, Message, OP_CLOSE, OP_OPEN, OP_READ, Open,
    Read, WireMessage,
};
pub use object::{ObjectFd, READ_COMPLETE, align_range, page_size};
pub use rustix::io::Errno;
