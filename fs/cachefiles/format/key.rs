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

const ALPHABET: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";

/// How a run of four bytes is read as a number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Endian {
    Big,
    Little,
}

/// The form that a key takes in a name.
#[derive(Clone, Copy)]
enum Form {
    Plain,
    Hex(Endian),
    Letters,
}

/// A name that is yet to be written: first it tells how long it gets.
pub(crate) struct Encoding<'a> {
    key: &'a [u8],
    form: Form,
    len: usize,
}

/// Chooses the form of a key. `None` for a key of more than [`MAX_KEY_LEN`] bytes.
pub(crate) fn encode(key: &[u8]) -> Option<Encoding<'_>> {
    if key.len() > MAX_KEY_LEN {
        return None;
    }
    if key.iter().all(|&byte| is_plain(byte)) {
        return Some(Encoding {
            key,
            form: Form::Plain,
            len: 1 + key.len(),
        });
    }
    let letters = 2 + 4 * key.len().div_ceil(3);
    let (big, little) = (hex_len(key, Endian::Big), hex_len(key, Endian::Little));
    let (form, len) = match (big.min(little) < letters, big <= little) {
        (false, _) => (Form::Letters, letters),
        (true, true) => (Form::Hex(Endian::Big), big),
        (true, false) => (Form::Hex(Endian::Little), little),
    };
    Some(Encoding { key, form, len })
}

impl Encoding<'_> {
    /// Returns the length of the name, in bytes: at most 338, as 252 bytes of key make 84 groups of
    /// four letters.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Writes the name to `out`, which is [`Encoding::len`] bytes long.
    pub(crate) fn write(&self, out: &mut [u8]) {
        // The length is that of what is written, so that nothing is cut off; see the tests.
        let mut out = out.iter_mut();
        let mut put = |byte| {
            if let Some(to) = out.next() {
                *to = byte;
            }
        };
        match self.form {
            Form::Plain => {
                put(b'D');
                self.key.iter().for_each(|&byte| put(byte));
            }
            Form::Hex(endian) => {
                let mut separator = match endian {
                    Endian::Big => b'S',
                    Endian::Little => b'T',
                };
                for word in words(self.key, endian) {
                    put(separator);
                    for digit in (0..hex_digits(word)).rev() {
                        put(letter((word >> (4 * digit)) & 0xf));
                    }
                    separator = b',';
                }
            }
            Form::Letters => {
                put(b'E');
                let missing = 3 * self.key.len().div_ceil(3) - self.key.len();
                // 0, 1 or 2.
                put(letter(missing as u32));
                for group in self.key.chunks(3) {
                    let bits = group
                        .iter()
                        .rev()
                        .fold(0, |bits, &byte| (bits << 8) | u32::from(byte));
                    for at in 0..4 {
                        put(letter(bits >> (6 * at)));
                    }
                }
            }
        }
    }
}

/// Returns the letter for the low six bits.
fn letter(bits: u32) -> u8 {
    ALPHABET[(bits & 63) as usize]
}

/// Bytes that may stand in a name as they are: from `!` on, without `/`, DEL included.
fn is_plain(byte: u8) -> bool {
    (33..=127).contains(&byte) && byte != b'/'
}

/// Returns the key as 32-bit words, the last one filled up with zeros as netfs pads its keys.
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

/// Returns the length of the hexadecimal form: a separator or initial for each word, and its
/// digits.
fn hex_len(key: &[u8], endian: Endian) -> usize {
    words(key, endian)
        .map(|word| 1 + hex_digits(word) as usize)
        .sum()
}
