// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What holds for every message and every key.

use std::collections::HashSet;

use cachefiles_protocol::{
    Close, MAX_MESSAGE_SIZE, Open, Read, WireMessage, align_range, cookie_file_name, fanout_name,
    key_path,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn any_message() -> impl Strategy<Value = WireMessage> {
    let open = (
        any::<u32>(),
        any::<u32>(),
        vec(1u8.., 0..255),
        vec(any::<u8>(), 0..255),
        0..i32::MAX,
        any::<u32>(),
    )
        .prop_map(|(msg_id, object_id, volume_key, cookie_key, fd, flags)| {
            WireMessage::Open(Open {
                msg_id,
                object_id,
                volume_key,
                cookie_key,
                fd,
                flags,
            })
        });
    let close = any::<(u32, u32)>()
        .prop_map(|(msg_id, object_id)| WireMessage::Close(Close { msg_id, object_id }));
    let read = any::<(u32, u32, u64, u64)>().prop_map(|(msg_id, object_id, off, len)| {
        WireMessage::Read(Read {
            msg_id,
            object_id,
            off,
            len,
        })
    });
    prop_oneof![open, close, read]
}

/// A file name's key, decoded by the letter in front: the other direction of the module's encoding.
fn decode_file_name(name: &[u8]) -> Option<Vec<u8>> {
    let hex = |rest: &[u8], order: fn(u32) -> [u8; 4]| {
        let text = String::from_utf8(rest.to_vec()).ok()?;
        let word = |word: &str| {
            if word.is_empty() {
                Some(0)
            } else {
                u32::from_str_radix(word, 16).ok()
            }
        };
        let words: Option<Vec<u32>> = text.split(',').map(word).collect();
        Some(words?.into_iter().flat_map(order).collect())
    };
    match name.split_first()? {
        (b'D', key) => Some(key.to_vec()),
        (b'S', rest) => hex(rest, u32::to_be_bytes),
        (b'T', rest) => hex(rest, u32::to_le_bytes),
        (b'E', rest) => {
            let (padding, digits) = rest.split_first()?;
            let alphabet: Vec<u8> = (b'0'..=b'9')
                .chain(b'a'..=b'z')
                .chain(b'A'..=b'Z')
                .chain([b'_', b'-'])
                .collect();
            let mut key = Vec::new();
            for quad in digits.chunks(4) {
                let mut bits = 0usize;
                for digit in quad.iter().rev() {
                    bits = (bits << 6) | alphabet.iter().position(|letter| letter == digit)?;
                }
                key.extend_from_slice(bits.to_le_bytes().get(..3)?);
            }
            key.truncate(key.len() - usize::from(padding - b'0'));
            Some(key)
        }
        _ => None,
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(message in any_message()) {
        let bytes = message.encode();
        prop_assert!(bytes.len() <= MAX_MESSAGE_SIZE);
        prop_assert_eq!(WireMessage::try_from(bytes.as_slice()), Ok(message));
    }

    #[test]
    fn what_decodes_encodes_to_itself(
        mut bytes in prop_oneof![Just(16usize), Just(32), 16..200usize]
            .prop_flat_map(|n| vec(any::<u8>(), n)),
        opcode in 0u32..4,
    ) {
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[4..8].copy_from_slice(&opcode.to_ne_bytes());
        bytes[8..12].copy_from_slice(&length.to_ne_bytes());
        if let Ok(message) = WireMessage::try_from(bytes.as_slice()) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }

    #[test]
    fn a_cut_message_never_decodes(message in any_message(), cut in 1usize..64) {
        let bytes = message.encode();
        let short = &bytes[..bytes.len().saturating_sub(cut)];
        prop_assert!(WireMessage::try_from(short).is_err());
    }

    #[test]
    fn file_names_are_legal_and_say_the_key(key in vec(any::<u8>(), 1..=252)) {
        let name = cookie_file_name(&key);
        prop_assert!(!name.contains(&b'/') && !name.contains(&0));
        let mut padded = key.clone();
        padded.resize(key.len().next_multiple_of(4), 0);
        let decoded = decode_file_name(&name).unwrap();
        let expected = if matches!(name[0], b'S' | b'T') { padded } else { key };
        prop_assert_eq!(decoded, expected);
    }

    #[test]
    fn printable_keys_stay_readable(key in "[!-.0-~]{1,200}") {
        prop_assert_eq!(cookie_file_name(key.as_bytes()), format!("D{key}").into_bytes());
    }

    #[test]
    fn paths_have_four_parts(volume in "[a-z,]{1,100}", cookie in vec(any::<u8>(), 1..100)) {
        let path = key_path(volume.as_bytes(), &cookie);
        prop_assert_eq!(path.components().count(), 4);
        let folder = format!("cache/I{volume}/{}", fanout_name(volume.as_bytes(), &cookie));
        prop_assert!(path.starts_with(folder));
    }

    #[test]
    fn aligned_ranges_cover_and_are_tight(off in 0u64..1 << 60, len in 0u64..1 << 40) {
        let range = align_range(off, len).unwrap();
        prop_assert!(range.start <= off && range.end >= off + len);
        prop_assert!(range.start % 4096 == 0 && range.end % 4096 == 0);
        prop_assert!(off - range.start < 4096 && range.end - (off + len) < 4096);
    }
}

#[test]
fn fan_out_spreads_consecutive_names() {
    let names = (0..4096).map(|n| fanout_name(b"erofs,x", format!("{n}").as_bytes()));
    let distinct: HashSet<String> = names.collect();
    assert!(
        distinct.len() > 128,
        "only {} of 256 directories are used",
        distinct.len()
    );
}
