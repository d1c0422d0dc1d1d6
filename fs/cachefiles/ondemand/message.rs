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

/// A message in its final form.
pub(crate) struct Message {
    buf: [u8; MAX_LEN],
    len: usize,
}

impl Message {
    /// Lays a message out. `None` where the keys are longer than netfs allows them to be.
    pub(crate) fn new(msg_id: u32, object_id: u32, payload: Payload<'_>) -> Option<Self> {
        let mut message = Self {
            buf: [0; MAX_LEN],
            len: 0,
        };
        let len = u32::try_from(payload.message_len()).ok()?;
        for word in [msg_id, payload.opcode(), len, object_id] {
            message.put(&word.to_ne_bytes())?;
        }
        match payload {
            Payload::Open {
                volume_key,
                cookie_key,
                fd,
            } => {
                let flags = 0;
                let volume_key_size = u32::try_from(volume_key.len()).ok()?;
                let cookie_key_size = u32::try_from(cookie_key.len()).ok()?;
                for word in [volume_key_size, cookie_key_size, fd, flags] {
                    message.put(&word.to_ne_bytes())?;
                }
                message.put(volume_key)?;
                message.put(cookie_key)?;
            }
            Payload::Close => {}
            Payload::Read { off, len } => {
                message.put(&off.to_ne_bytes())?;
                message.put(&len.to_ne_bytes())?;
            }
        }
        Some(message)
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.buf.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or(&[])
    }
}
