// SPDX-License-Identifier: GPL-2.0

//! From a cookie's key to the name of its cache file.
//!
//! Names are part of the on-disk format, and daemons compute them too:
//!
//! - `D` and the key itself, where every byte may stand in a file name and can be printed;
//! - `S` (big endian) or `T` (little endian) and the key's 32-bit words in hexadecimal, without
//!   leading zeros and joined by commas, where that is shorter than
//! - `E`, a digit for the number of bytes that the last group lacks, and the key in groups of
//!   three bytes as four letters of a 64-letter alphabet, least significant six bits first.
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

/// The longest key that netfs' other users of this format can have. (Dense ones of more than 189
/// bytes get a name that is too long for a file, and are not cached.)
pub(crate) const MAX_KEY_LEN: usize = 252;
/// The longest name: 252 bytes of key make 84 groups of four letters.
pub(crate) const MAX_NAME_LEN: usize = 2 + 4 * (MAX_KEY_LEN / 3);

const ALPHABET: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";

/// The name of a cache file.
#[derive(Clone)]
pub(crate) struct Name {
    buf: [u8; MAX_NAME_LEN],
    len: usize,
}

impl Name {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or(&[])
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        *self.buf.get_mut(self.len)? = byte;
        self.len += 1;
        Some(())
    }

    fn push_hex(&mut self, word: u32) -> Option<()> {
        for digit in (0..hex_digits(word)).rev() {
            let nibble = (word >> (4 * digit)) & 0xf;
            self.push(*ALPHABET.get(nibble as usize)?)?;
        }
        Some(())
    }
}

/// How a run of four bytes is read as a number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Endian {
    Big,
    Little,
}

/// Encodes a key. `None` for a key of more than [`MAX_KEY_LEN`] bytes.
pub(crate) fn encode(key: &[u8]) -> Option<Name> {
    if key.len() > MAX_KEY_LEN {
        return None;
    }
    let mut name = Name {
        buf: [0; MAX_NAME_LEN],
        len: 0,
    };
    if key.iter().all(|&byte| is_plain(byte)) {
        name.push(b'D')?;
        for &byte in key {
            name.push(byte)?;
        }
        return Some(name);
    }

    let big = hex_len(key, Endian::Big);
    let little = hex_len(key, Endian::Little);
    let groups = key.len().div_ceil(3);
    if big.min(little) < 2 + 4 * groups {
        let (endian, first) = if big <= little {
            (Endian::Big, b'S')
        } else {
            (Endian::Little, b'T')
        };
        let mut separator = first;
        for word in words(key, endian) {
            name.push(separator)?;
            name.push_hex(word)?;
            separator = b',';
        }
    } else {
        let missing = 3 * groups - key.len();
        name.push(b'E')?;
        name.push(*ALPHABET.get(missing)?)?;
        for group in key.chunks(3) {
            let bits = group
                .iter()
                .rev()
                .fold(0usize, |bits, &byte| (bits << 8) | usize::from(byte));
            for letter in 0..4 {
                name.push(*ALPHABET.get((bits >> (6 * letter)) & 63)?)?;
            }
        }
    }
    Some(name)
}

/// Bytes that may stand in a name as they are: from `!` on, without `/`, DEL included.
fn is_plain(byte: u8) -> bool {
    (33..=127).contains(&byte) && byte != b'/'
}

/// The key as 32-bit words, the last one filled up with zeros as netfs pads its keys.
fn words(key: &[u8], endian: Endian) -> impl Iterator<Item = u32> + '_ {
    key.chunks(4).map(move |chunk| {
        let mut bytes = [0; 4];
        for (to, from) in bytes.iter_mut().zip(chunk) {
            *to = *from;
        }
        match endian {
            Endian::Big => u32::from_be_bytes(bytes),
            Endian::Little => u32::from_le_bytes(bytes),
        }
    })
}

fn hex_digits(word: u32) -> u32 {
    (u32::BITS - word.leading_zeros()).div_ceil(4)
}

/// Length of the hexadecimal form: a separator or initial for each word, and its digits.
fn hex_len(key: &[u8], endian: Endian) -> usize {
    words(key, endian)
        .map(|word| 1 + hex_digits(word) as usize)
        .sum()
}
