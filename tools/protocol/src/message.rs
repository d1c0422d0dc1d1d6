// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Messages that the kernel sends: decoding and encoding, native endian.
//!
//! Answers to `include/uapi/linux/cachefiles.h`. A message is a header of 16 bytes and a payload
//! that depends on the opcode; one read of the device returns exactly one.

use std::os::fd::RawFd;

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ObjectFd;

/// The longest message the kernel sends, header included.
pub const MAX_MESSAGE_SIZE: usize = 1024;

/// Size of the header in front of every message.
pub const HEADER_SIZE: usize = size_of::<Header>();

/// Opcode of [`Open`].
pub const OP_OPEN: u32 = 0;
/// Opcode of [`Close`].
pub const OP_CLOSE: u32 = 1;
/// Opcode of [`Read`].
pub const OP_READ: u32 = 2;

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    msg_id: u32,
    opcode: u32,
    len: u32,
    object_id: u32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct OpenPayload {
    volume_key_size: u32,
    cookie_key_size: u32,
    fd: u32,
    flags: u32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ReadPayload {
    off: u64,
    len: u64,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Fewer bytes than the header or the fixed part of the payload needs.
    #[error("message of {got} bytes is too short, {wanted} are needed")]
    TooShort {
        /// Bytes there are.
        got: usize,
        /// Bytes the part that was being decoded ends at.
        wanted: usize,
    },
    /// The header's length is not the length of what was read.
    #[error("header says {header} bytes, {got} were read")]
    LengthMismatch {
        /// Length in the header.
        header: u32,
        /// Bytes there are.
        got: usize,
    },
    /// An opcode this version of the interface does not have.
    #[error("unknown opcode {0}")]
    UnknownOpcode(u32),
    /// The payload is longer than its opcode allows.
    #[error("{0} bytes after the end of the payload")]
    TrailingBytes(usize),
    /// The two key sizes do not add up to the payload of the OPEN.
    #[error("keys of {volume} and {cookie} bytes do not fill the {got} bytes of the payload")]
    KeySizes {
        /// Size of the volume key, with its NUL.
        volume: u32,
        /// Size of the cookie key.
        cookie: u32,
        /// Bytes that follow the fixed part.
        got: usize,
    },
    /// The volume key is not a string with one NUL, at its end.
    #[error("volume key does not end in its only NUL")]
    VolumeKey,
    /// The OPEN carries no usable file descriptor.
    #[error("file descriptor {0:#x} is out of range")]
    FileDescriptor(u32),
}

/// A message, as decoded (`Fd` is a number) or as received (`Fd` is an owner, see [`ObjectFd`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<Fd = ObjectFd> {
    /// A cache file is opened: to be answered with [`crate::Device::copen`].
    Open(Open<Fd>),
    /// A cache file is closed: drop its fd, there is no answer.
    Close(Close),
    /// Data is wanted: write it to the object's fd, then complete the request there.
    Read(Read),
}

/// A message whose OPEN carries the bare number of the fd, as it stands in the bytes.
pub type WireMessage = Message<RawFd>;

/// Request to open an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open<Fd = ObjectFd> {
    /// Id of this request.
    pub msg_id: u32,
    /// Id that later messages name the object by. A reopened object gets a new one.
    pub object_id: u32,
    /// Key of the volume, for EROFS `erofs,<domain id or fsid>`; without the NUL.
    pub volume_key: Vec<u8>,
    /// Key of the object, for EROFS the fsid or the device's name.
    pub cookie_key: Vec<u8>,
    /// The anonymous fd that stands for the cache file.
    pub fd: Fd,
    /// Flags, none defined so far.
    pub flags: u32,
}

/// Notice that an object is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// Id of this request.
    pub msg_id: u32,
    /// The object to forget.
    pub object_id: u32,
}

/// Request for a range of an object's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Id of this request, which the completion names.
    pub msg_id: u32,
    /// The object the data belongs to.
    pub object_id: u32,
    /// Start of the range in bytes.
    pub off: u64,
    /// Length of the range in bytes.
    pub len: u64,
}

impl<Fd> Message<Fd> {
    /// Id of the request, whatever its kind.
    pub fn msg_id(&self) -> u32 {
        match self {
            Self::Open(open) => open.msg_id,
            Self::Close(close) => close.msg_id,
            Self::Read(read) => read.msg_id,
        }
    }

    /// Id of the object, whatever the kind of request.
    pub fn object_id(&self) -> u32 {
        match self {
            Self::Open(open) => open.object_id,
            Self::Close(close) => close.object_id,
            Self::Read(read) => read.object_id,
        }
    }

    /// The same message with another representation of the OPEN's fd.
    pub fn map_fd<T>(self, f: impl FnOnce(Fd) -> T) -> Message<T> {
        match self {
            Self::Open(open) => Message::Open(Open {
                msg_id: open.msg_id,
                object_id: open.object_id,
                volume_key: open.volume_key,
                cookie_key: open.cookie_key,
                fd: f(open.fd),
                flags: open.flags,
            }),
            Self::Close(close) => Message::Close(close),
            Self::Read(read) => Message::Read(read),
        }
    }
}

impl TryFrom<&[u8]> for WireMessage {
    type Error = DecodeError;

    /// Decodes exactly one message: `bytes` is what one read of the device returned.
    fn try_from(bytes: &[u8]) -> Result<Self, DecodeError> {
        let too_short = |wanted| DecodeError::TooShort {
            got: bytes.len(),
            wanted,
        };
        let (header, payload) =
            Header::read_from_prefix(bytes).map_err(|_| too_short(HEADER_SIZE))?;
        if usize::try_from(header.len) != Ok(bytes.len()) {
            return Err(DecodeError::LengthMismatch {
                header: header.len,
                got: bytes.len(),
            });
        }
        let Header {
            msg_id, object_id, ..
        } = header;
        match header.opcode {
            OP_OPEN => {
                let (fixed, keys) = OpenPayload::read_from_prefix(payload)
                    .map_err(|_| too_short(HEADER_SIZE + size_of::<OpenPayload>()))?;
                let (volume_key, cookie_key) = split_keys(&fixed, keys)?;
                let fd =
                    RawFd::try_from(fixed.fd).map_err(|_| DecodeError::FileDescriptor(fixed.fd))?;
                Ok(Self::Open(Open {
                    msg_id,
                    object_id,
                    volume_key: volume_key.to_vec(),
                    cookie_key: cookie_key.to_vec(),
                    fd,
                    flags: fixed.flags,
                }))
            }
            OP_CLOSE if payload.is_empty() => Ok(Self::Close(Close { msg_id, object_id })),
            OP_CLOSE => Err(DecodeError::TrailingBytes(payload.len())),
            OP_READ => {
                let (fixed, rest) = ReadPayload::read_from_prefix(payload)
                    .map_err(|_| too_short(HEADER_SIZE + size_of::<ReadPayload>()))?;
                if !rest.is_empty() {
                    return Err(DecodeError::TrailingBytes(rest.len()));
                }
                Ok(Self::Read(Read {
                    msg_id,
                    object_id,
                    off: fixed.off,
                    len: fixed.len,
                }))
            }
            opcode => Err(DecodeError::UnknownOpcode(opcode)),
        }
    }
}

/// Splits the keys of an OPEN into the volume's, without its NUL, and the cookie's.
fn split_keys<'a>(
    fixed: &OpenPayload,
    keys: &'a [u8],
) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
    let sizes = || DecodeError::KeySizes {
        volume: fixed.volume_key_size,
        cookie: fixed.cookie_key_size,
        got: keys.len(),
    };
    let volume_size = usize::try_from(fixed.volume_key_size).map_err(|_| sizes())?;
    let (volume, cookie) = keys.split_at_checked(volume_size).ok_or_else(sizes)?;
    if usize::try_from(fixed.cookie_key_size) != Ok(cookie.len()) {
        return Err(sizes());
    }
    match volume.split_last() {
        Some((0, key)) if !key.contains(&0) => Ok((key, cookie)),
        _ => Err(DecodeError::VolumeKey),
    }
}

impl WireMessage {
    /// The bytes of this message, as the kernel would send them: for tests and fake kernels.
    ///
    /// Sizes beyond 32 bits cannot be encoded and are clamped; the kernel never has them.
    pub fn encode(&self) -> Vec<u8> {
        let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (opcode, payload) = match self {
            Self::Open(open) => {
                let fixed = OpenPayload {
                    volume_key_size: clamp(open.volume_key.len() + 1),
                    cookie_key_size: clamp(open.cookie_key.len()),
                    fd: u32::from_ne_bytes(open.fd.to_ne_bytes()),
                    flags: open.flags,
                };
                (
                    OP_OPEN,
                    [fixed.as_bytes(), &open.volume_key, &[0], &open.cookie_key].concat(),
                )
            }
            Self::Close(_) => (OP_CLOSE, Vec::new()),
            Self::Read(read) => (
                OP_READ,
                ReadPayload {
                    off: read.off,
                    len: read.len,
                }
                .as_bytes()
                .to_vec(),
            ),
        };
        let len = clamp(HEADER_SIZE + payload.len());
        let header = Header {
            msg_id: self.msg_id(),
            opcode,
            len,
            object_id: self.object_id(),
        };
        [header.as_bytes(), &payload].concat()
    }
}
