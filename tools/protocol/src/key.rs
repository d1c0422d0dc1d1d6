// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Names of cache files: from the keys in an OPEN to the path under the cache directory.
//!
//! Daemons cull files and look at their occupancy by path, so the names are part of the interface.
//! A cache file is `cache/I<volume key>/@<xx>/<name>`: `xx` is the low byte of the cookie's hash,
//! and the name an encoding of the cookie key that is legal in a file name. Answers to the kernel's
//! `fs/cachefiles/key.c` and to `fscache_hash`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Digits of the base-64 form, which is not the common alphabet.
const BASE64: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";

/// Path of an object's file, relative to the cache directory. The keys are those of the OPEN, the
/// volume's without its NUL.
pub fn key_path(volume_key: &[u8], cookie_key: &[u8]) -> PathBuf {
    let name = |bytes| OsString::from_vec(bytes);
    let mut path = PathBuf::from("cache");
    path.push(name(volume_dir_name(volume_key)));
    path.push(fanout_name(volume_key, cookie_key));
    path.push(name(cookie_file_name(cookie_key)));
    path
}

/// Name of a volume's directory.
pub fn volume_dir_name(volume_key: &[u8]) -> Vec<u8> {
    [b"I", volume_key].concat()
}

/// Name of the directory between a volume's and its files, which spreads the files over 256.
pub fn fanout_name(volume_key: &[u8], cookie_key: &[u8]) -> String {
    // The hashed form of a volume's key is its length in one byte, the key, and at least one NUL.
    let length = u8::try_from(volume_key.len()).unwrap_or(u8::MAX);
    let volume_hash = fscache_hash(0, &[&[length], volume_key, &[0]].concat());
    format!("@{:02x}", fscache_hash(volume_hash, cookie_key) & 0xff)
}

/// The hash of fscache, over `data` padded with zeros to whole words of four bytes.
pub fn fscache_hash(salt: u32, data: &[u8]) -> u32 {
    const GOLDEN_RATIO: u32 = 0x61c8_8647;
    let (mut x, mut y) = (0u32, salt);
    for word in words(data) {
        x ^= u32::from_le_bytes(word);
        y ^= x;
        x = x.rotate_left(7).wrapping_add(y);
        y = y.rotate_left(20).wrapping_mul(9);
    }
    (y ^ x.wrapping_mul(GOLDEN_RATIO)).wrapping_mul(GOLDEN_RATIO)
}

/// Name of a cookie's file: the key itself where it is printable (`D`), else the shorter of words
/// in hex (`S` big endian, `T` little endian) and base 64 (`E`).
pub fn cookie_file_name(key: &[u8]) -> Vec<u8> {
    if key.iter().all(|&byte| matches!(byte, 33..=46 | 48..=127)) {
        return [b"D", key].concat();
    }
    let big = hex_words(key, 'S', u32::from_be_bytes);
    let little = hex_words(key, 'T', u32::from_le_bytes);
    let hex = if big.len() <= little.len() {
        big
    } else {
        little
    };
    if hex.len() < 2 + key.len().div_ceil(3) * 4 {
        hex.into_bytes()
    } else {
        base64(key)
    }
}

/// The key as hex words without leading zeros; a word of zero is an empty string.
fn hex_words(key: &[u8], kind: char, word: fn([u8; 4]) -> u32) -> String {
    let mut name = String::from(kind);
    for (index, bytes) in words(key).enumerate() {
        if index > 0 {
            name.push(',');
        }
        match word(bytes) {
            0 => {}
            value => name.push_str(&format!("{value:x}")),
        }
    }
    name
}

/// The key in base 64, least significant six bits first, behind the number of padding bytes.
fn base64(key: &[u8]) -> Vec<u8> {
    let padding = key.len().div_ceil(3) * 3 - key.len();
    let mut name = format!("E{padding}").into_bytes();
    for chunk in key.chunks(3) {
        let bits = chunk
            .iter()
            .rev()
            .fold(0usize, |bits, &byte| (bits << 8) | usize::from(byte));
        name.extend((0..4).filter_map(|digit| BASE64.get((bits >> (6 * digit)) & 63)));
    }
    name
}

/// The data in words of four bytes, the last padded with zeros.
fn words(data: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    data.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word.iter_mut()
            .zip(chunk)
            .for_each(|(to, from)| *to = *from);
        word
    })
}
