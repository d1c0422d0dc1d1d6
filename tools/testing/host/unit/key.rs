// SPDX-License-Identifier: GPL-2.0

use super::key::{encode, MAX_KEY_LEN};
use proptest::prelude::*;

/// In a place that is too large, so that a wrong length shows.
fn encoded(key: &[u8]) -> Vec<u8> {
    let encoding = encode(key).unwrap();
    let mut place = vec![0; encoding.len() + 1];
    encoding.write(&mut place);
    assert_eq!(
        place.iter().position(|byte| *byte == 0),
        Some(encoding.len())
    );
    place.pop();
    place
}

fn name(key: &[u8]) -> String {
    String::from_utf8(encoded(key)).unwrap()
}

#[test]
fn printable_keys_are_names_as_they_are() {
    assert_eq!(name(b"blob-1.img"), "Dblob-1.img");
    assert_eq!(name(b"~\x7f!"), "D~\x7f!");
    assert_eq!(name(b""), "D");
}

#[test]
fn words_with_leading_zeros_are_hexadecimal_the_shorter_way_round() {
    assert_eq!(name(&[0, 0, 0, 1, 0, 0, 0x12, 0x34]), "S1,1234");
    assert_eq!(name(&[1, 0, 0, 0, 0x34, 0x12, 0, 0]), "T1,1234");
    assert_eq!(name(&[0, 0, 0, 0]), "S");
    assert_eq!(name(&[0, 0, 0, 0, 0, 0, 0, 0]), "S,");
    // The last word is filled up with zeros.
    assert_eq!(name(&[1, 0, 0, 0, 5]), "T1,5");
}

#[test]
fn dense_binary_keys_are_base64_of_our_own_alphabet() {
    // 3 bytes in 4 letters, low six bits first: 0xfffefd is 0x3d, 0x3b, 0x3f, 0x3f.
    assert_eq!(name(&[0xfd, 0xfe, 0xff, 0xfd, 0xfe, 0xff]), "E0ZX--ZX--");
    assert_eq!(
        name(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).len(),
        2 + 4 * 3
    );
    assert!(name(&[0xff; 7]).starts_with("E2"));
}

#[test]
fn keys_of_more_than_252_bytes_have_no_name() {
    assert!(encode(&[b'a'; MAX_KEY_LEN]).is_some());
    assert!(encode(&[b'a'; MAX_KEY_LEN + 1]).is_none());
}

#[test]
fn names_are_those_that_the_c_module_writes() {
    // Read off a cache that the C module of 6.12.117 wrote; the selftest
    // `cache_files_have_the_known_names` checks them on disk, with both modules.
    for (key, expected) in [
        (&b"golden"[..], "Dgolden"),
        (b"sha256:0123456789abcdef", "Dsha256:0123456789abcdef"),
        (b"\x01\x02\x03\x04", "S1020304"),
        (b"\x01\x01", "T101"),
        (b"\x01 \x01", "E010i0"),
        (
            b"\x81\x82\x83\x84\x85\x86\x87\x88 long",
            "E21aUw4mEx7y88IZCrD100",
        ),
    ] {
        assert_eq!(name(key), expected);
    }
}

/// Reads a name back, by the description of the format alone.
fn decode(name: &[u8], len: usize) -> Vec<u8> {
    let (&kind, rest) = name.split_first().unwrap();
    let mut key: Vec<u8> = match kind {
        b'D' => rest.to_vec(),
        b'S' | b'T' => rest
            .split(|&b| b == b',')
            .flat_map(|word| {
                let text = std::str::from_utf8(word).unwrap();
                let value = if text.is_empty() {
                    0
                } else {
                    u32::from_str_radix(text, 16).unwrap()
                };
                if kind == b'S' {
                    value.to_be_bytes()
                } else {
                    value.to_le_bytes()
                }
            })
            .collect(),
        b'E' => rest[1..]
            .chunks(4)
            .flat_map(|group| {
                let bits = group.iter().rev().fold(0u32, |bits, letter| {
                    let value = match letter {
                        b'0'..=b'9' => letter - b'0',
                        b'a'..=b'z' => letter - b'a' + 10,
                        b'A'..=b'Z' => letter - b'A' + 36,
                        b'_' => 62,
                        b'-' => 63,
                        _ => panic!("letter {letter}"),
                    };
                    (bits << 6) | u32::from(value)
                });
                let [a, b, c, _] = bits.to_le_bytes();
                [a, b, c]
            })
            .collect(),
        kind => panic!("encoding {kind}"),
    };
    assert!(key[len..].iter().all(|&byte| byte == 0));
    key.truncate(len);
    key
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    let sparse = prop_oneof![4 => Just(0u8), 1 => any::<u8>()];
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..=MAX_KEY_LEN),
        prop::collection::vec(sparse, 1..=MAX_KEY_LEN),
        prop::collection::vec(33u8..127, 1..=MAX_KEY_LEN),
    ]
}

proptest! {
    #[test]
    fn every_key_has_a_file_name_that_can_be_read_back(key in keys()) {
        let name = encoded(&key);
        prop_assert!(name.len() <= 338 && !name.contains(&b'/') && !name.contains(&0));
        prop_assert_eq!(decode(&name, key.len()), key);
    }
}
