// SPDX-License-Identifier: GPL-2.0

//! Messages to the daemon, as laid out in `include/uapi/linux/cachefiles.h` (native endian).
//!
//! ```text
//! header   u32 msg_id, u32 opcode, u32 len, u32 object_id
//! OPEN     u32 volume_key_size, u32 cookie_key_size, u32 fd, u32 flags, volume key, cookie key
//! CLOSE    nothing
//! READ     u64 off, u64 len
//! ```
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

/// Size of the header, in bytes.
pub(crate) const HEADER_LEN: usize = 16;
/// Size of what an OPEN has in front of its keys, in bytes.
pub(crate) const OPEN_LEN: usize = 16;
/// Size of a READ's payload, in bytes.
pub(crate) const READ_LEN: usize = 16;
/// The longest message: an OPEN with both keys of 255 bytes, and the volume key's NUL.
pub(crate) const MAX_LEN: usize = HEADER_LEN + OPEN_LEN + 256 + 255;

pub(crate) const OPCODE_OPEN: u32 = 0;
pub(crate) const OPCODE_CLOSE: u32 = 1;
pub(crate) const OPCODE_READ: u32 = 2;

/// The payload of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Open {
        /// With its closing NUL.
        volume_key: &'a [u8],
        cookie_key: &'a [u8],
        fd: u32,
    },
    Close,
    Read {
        off: u64,
        len: u64,
    },
}

impl Payload<'_> {
    #[inline]
    fn opcode(&self) -> u32 {
        match self {
            Payload::Open { .. } => OPCODE_OPEN,
            Payload::Close => OPCODE_CLOSE,
            Payload::Read { .. } => OPCODE_READ,
        }
    }

    /// Returns the length of the whole message, in bytes.
    #[inline]
    pub(crate) fn message_len(&self) -> usize {
        HEADER_LEN
            + match self {
                Payload::Open {
                    volume_key,
                    cookie_key,
                    ..
                } => OPEN_LEN + volume_key.len() + cookie_key.len(),
                Payload::Close => 0,
                Payload::Read { .. } => READ_LEN,
            }
    }
}

/// A message in its final form, in words of native endianness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// Nothing but the header.
    Bare([u32; HEADER_LEN / 4]),
    /// The keys, which are empty in all but an OPEN, follow the words.
    Full([u32; (HEADER_LEN + OPEN_LEN) / 4], [&'a [u8]; 2]),
}

impl<'a> Message<'a> {
    /// Lays a message out. `None` where the keys are longer than netfs allows them to be.
    #[inline(always)]
    pub(crate) fn new(msg_id: u32, object_id: u32, payload: Payload<'a>) -> Option<Self> {
        if payload.message_len() > MAX_LEN {
            return None;
        }
        // Not more than `MAX_LEN`, which a `u32` holds; and so are the keys.
        let len = payload.message_len() as u32;
        let opcode = payload.opcode();
        let ([a, b, c, d], keys) = match payload {
            Payload::Open {
                volume_key,
                cookie_key,
                fd,
            } => {
                let flags = 0;
                let (volume, cookie) = (volume_key.len() as u32, cookie_key.len() as u32);
                ([volume, cookie, fd, flags], [volume_key, cookie_key])
            }
            Payload::Close => return Some(Self::Bare([msg_id, opcode, len, object_id])),
            Payload::Read { off, len } => {
                let ([a, b], [c, d]) = (words(off), words(len));
                ([a, b, c, d], [&[][..]; 2])
            }
        };
        let head = [msg_id, opcode, len, object_id, a, b, c, d];
        Some(Self::Full(head, keys))
    }
}

/// Returns a number of 64 bits as it lies in memory.
#[inline]
fn words(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_ne_bytes();
    let (first, second) = ([a, b, c, d], [e, f, g, h]);
    [u32::from_ne_bytes(first), u32::from_ne_bytes(second)]
}
