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
    fn opcode(&self) -> u32 {
        match self {
            Payload::Open { .. } => OPCODE_OPEN,
            Payload::Close => OPCODE_CLOSE,
            Payload::Read { .. } => OPCODE_READ,
        }
    }

    /// Length of the whole message, in bytes.
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

/// A message in its final form: what is of fixed length, and the keys of an OPEN where they are.
pub(crate) struct Message<'a> {
    head: [u8; HEADER_LEN + OPEN_LEN],
    head_len: usize,
    keys: [&'a [u8]; 2],
}

impl<'a> Message<'a> {
    /// Lays a message out. `None` where the keys are longer than netfs allows them to be.
    pub(crate) fn new(msg_id: u32, object_id: u32, payload: Payload<'a>) -> Option<Self> {
        let len = payload.message_len();
        if len > MAX_LEN {
            return None;
        }
        let mut message = Self {
            head: [0; HEADER_LEN + OPEN_LEN],
            head_len: HEADER_LEN + OPEN_LEN,
            keys: [&[], &[]],
        };
        let (header, rest) = message.head.split_at_mut(HEADER_LEN);
        // The length is at most `MAX_LEN`.
        put_words(header, [msg_id, payload.opcode(), len as u32, object_id]);
        match payload {
            Payload::Open {
                volume_key,
                cookie_key,
                fd,
            } => {
                let flags = 0;
                let sizes = [volume_key.len() as u32, cookie_key.len() as u32];
                put_words(rest, [sizes[0], sizes[1], fd, flags]);
                message.keys = [volume_key, cookie_key];
            }
            Payload::Close => message.head_len = HEADER_LEN,
            Payload::Read { off, len } => {
                let (to_off, to_len) = rest.split_at_mut(8);
                to_off.copy_from_slice(&off.to_ne_bytes());
                to_len.copy_from_slice(&len.to_ne_bytes());
            }
        }
        Some(message)
    }

    /// Its pieces, in their order.
    pub(crate) fn pieces(&self) -> [&[u8]; 3] {
        let head = self.head.get(..self.head_len).unwrap_or(&[]);
        [head, self.keys[0], self.keys[1]]
    }
}

fn put_words(to: &mut [u8], words: [u32; 4]) {
    for (to, word) in to.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
}

// As much of an OPEN is of fixed length as a READ is long.
const _: () = assert!(READ_LEN == OPEN_LEN);
