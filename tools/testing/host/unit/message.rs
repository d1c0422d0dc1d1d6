// SPDX-License-Identifier: GPL-2.0

use super::message::{Message, Payload, MAX_LEN};
use proptest::prelude::*;

/// What the daemon gets to read.
fn bytes(message: Message<'_>) -> Vec<u8> {
    let (words, keys): (&[u32], _) = match &message {
        Message::Bare(words) => (words, [&[][..]; 2]),
        Message::Full(words, keys) => (words, *keys),
    };
    let words = words.iter().flat_map(|word| word.to_ne_bytes());
    words.chain(keys.concat()).collect()
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .chunks(4)
        .map(|word| u32::from_ne_bytes(word.try_into().unwrap()))
        .collect()
}

#[test]
fn an_open_has_sizes_fd_flags_and_both_keys() {
    let payload = Payload::Open {
        volume_key: b"erofs,a\0",
        cookie_key: b"blob",
        fd: 7,
    };
    let message = bytes(Message::new(3, 9, payload).unwrap());
    assert_eq!(words(&message[..32]), [3, 0, 44, 9, 8, 4, 7, 0]);
    assert_eq!(&message[32..], b"erofs,a\0blob");
}

#[test]
fn a_close_is_its_header() {
    let message = bytes(Message::new(3, 9, Payload::Close).unwrap());
    assert_eq!(words(&message), [3, 1, 16, 9]);
}

#[test]
fn a_read_has_offset_and_length_of_64_bits() {
    let payload = Payload::Read {
        off: 1 << 40,
        len: 4096,
    };
    let message = bytes(Message::new(3, 9, payload).unwrap());
    assert_eq!(words(&message[..16]), [3, 2, 32, 9]);
    assert_eq!(message[16..24], (1u64 << 40).to_ne_bytes());
    assert_eq!(message[24..], 4096u64.to_ne_bytes());
}

#[test]
fn the_longest_keys_that_netfs_allows_fit() {
    let payload = Payload::Open {
        volume_key: &[b'v'; 256],
        cookie_key: &[b'c'; 255],
        fd: 0,
    };
    assert_eq!(bytes(Message::new(0, 1, payload).unwrap()).len(), MAX_LEN);
    let payload = Payload::Open {
        volume_key: &[b'v'; 256],
        cookie_key: &[b'c'; 256],
        fd: 0,
    };
    assert!(Message::new(0, 1, payload).is_none());
}

proptest! {
    #[test]
    fn the_length_is_known_beforehand(
        id: u32, object: u32, fd: u32,
        volume_key in prop::collection::vec(any::<u8>(), 1..=256),
        cookie_key in prop::collection::vec(any::<u8>(), 0..=255),
    ) {
        let payload = Payload::Open { volume_key: &volume_key, cookie_key: &cookie_key, fd };
        let message = bytes(Message::new(id, object, payload).unwrap());
        prop_assert_eq!(message.len(), payload.message_len());
        prop_assert_eq!(words(&message[8..12])[0] as usize, payload.message_len());
    }
}
