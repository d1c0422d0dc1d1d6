// SPDX-License-Identifier: GPL-2.0

//! What is fuzzed, and what it is compared with: code that was written by the description of the
//! format alone, and for messages and keys the protocol crate, which shares nothing with the
//! driver.
//!
//! The driver's files are those that go into the module.

mod command;
mod key;
mod layout;
mod message;

pub use command::command;
pub use key::key;
pub use layout::layout;
pub use message::message;

// The module's own users of these items are not here.
#[allow(dead_code)]
#[path = "../../../../fs/cachefiles"]
mod driver {
    #[path = "format/command.rs"]
    pub(crate) mod command;
    #[path = "format/key.rs"]
    pub(crate) mod key;
    #[path = "format/layout.rs"]
    pub(crate) mod layout;
    #[path = "format/limits.rs"]
    pub(crate) mod limits;
    #[path = "cache/ondemand/message.rs"]
    pub(crate) mod message;
}

/// Takes up to `len` bytes off the front.
fn take<'a>(data: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (front, rest) = data.split_at(len.min(data.len()));
    *data = rest;
    front
}

/// Takes a number off the front; what is missing is zero.
fn take_u64(data: &mut &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let front = take(data, 8);
    bytes[..front.len()].copy_from_slice(front);
    u64::from_le_bytes(bytes)
}

/// A fixed set of inputs for each, for the tests that run without libFuzzer: under Miri, too.
#[cfg(test)]
mod tests {
    fn inputs() -> impl Iterator<Item = Vec<u8>> {
        let texts = [
            &b"copen 12,-2"[..],
            b"cfail 12,-5",
            b"frun 7%",
            b"debug 0x1f",
            b"blob-1.img",
            b"7,0x",
            b"-9223372036854775809,0",
        ];
        let count = if cfg!(miri) { 60 } else { 3000 };
        let mut state = 1u32;
        texts
            .into_iter()
            .map(<[u8]>::to_vec)
            .chain((0..count).map(move |n| {
                let mut next = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                };
                // Some of few values, some of all.
                (0..n % 300)
                    .map(|_| if n % 3 == 0 { next() & 1 } else { next() })
                    .collect()
            }))
    }

    #[test]
    fn commands() {
        inputs().for_each(|input| super::command(&input));
    }

    #[test]
    fn messages() {
        inputs().for_each(|input| super::message(&input));
    }

    #[test]
    fn keys() {
        inputs().for_each(|input| super::key(&input));
    }

    #[test]
    fn layouts() {
        inputs().for_each(|input| super::layout(&input));
    }
}
