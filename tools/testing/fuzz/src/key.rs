// SPDX-License-Identifier: GPL-2.0

//! Names of cache files.

use crate::driver::key::{MAX_KEY_LEN, encode};
use cachefiles_protocol::cookie_file_name;

/// Takes the input for a key.
pub fn key(data: &[u8]) {
    let Some(encoding) = encode(data) else {
        assert!(data.len() > MAX_KEY_LEN);
        return;
    };
    // More than that does not do any harm either, and less is not written beyond.
    let mut name = vec![0; encoding.len()];
    encoding.write(&mut name);
    assert!(!name.contains(&0) && !name.contains(&b'/'));
    assert_eq!(name, cookie_file_name(data));

    // The key can be told from the name, but for zeros that fill up the last word.
    let mut decoded = decode(&name);
    let filled = decoded.split_off(data.len().min(decoded.len()));
    assert_eq!(decoded, data);
    assert!(filled.len() < 4 && filled.iter().all(|&byte| byte == 0));

    let mut short = vec![0; encoding.len() / 2];
    encoding.write(&mut short);
    assert_eq!(short, name[..short.len()]);
}

/// Reads a name by the description of the format.
fn decode(name: &[u8]) -> Vec<u8> {
    const LETTERS: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";
    let (&form, rest) = name.split_first().unwrap();
    match form {
        b'D' => rest.to_vec(),
        b'S' | b'T' => std::str::from_utf8(rest)
            .unwrap()
            .split(',')
            .flat_map(|word| {
                let word = u32::from_str_radix(&format!("0{word}"), 16).unwrap();
                match form {
                    b'S' => word.to_be_bytes(),
                    _ => word.to_le_bytes(),
                }
            })
            .collect(),
        b'E' => {
            let (&missing, groups) = rest.split_first().unwrap();
            let mut key = Vec::new();
            for group in groups.chunks(4) {
                let value = |letter: &u8| LETTERS.find(char::from(*letter)).unwrap() as u32;
                let bits = group
                    .iter()
                    .rev()
                    .fold(0, |bits, letter| (bits << 6) | value(letter));
                key.extend_from_slice(&bits.to_le_bytes()[..3]);
            }
            let missing = usize::from(missing - b'0');
            assert!(key.drain(key.len() - missing..).all(|byte| byte == 0));
            key
        }
        other => panic!("form {other}"),
    }
}
