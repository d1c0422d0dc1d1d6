// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Messages and names against bytes written out by hand or taken from the C module.

use std::os::fd::RawFd;

use cachefiles_protocol::{Close, DecodeError, Open, Read, WireMessage, key_path};

/// The words as bytes of this machine's order, as the kernel writes them.
fn message(words: &[u32], rest: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.extend_from_slice(rest);
    bytes
}

fn decode(bytes: &[u8]) -> Result<WireMessage, DecodeError> {
    WireMessage::try_from(bytes)
}

#[test]
fn open_is_header_sizes_fd_flags_and_keys() {
    let bytes = message(&[7, 0, 32 + 10 + 4, 3, 10, 4, 21, 0], b"erofs,img\0blob");
    let open = Open {
        msg_id: 7,
        object_id: 3,
        volume_key: b"erofs,img".to_vec(),
        cookie_key: b"blob".to_vec(),
        fd: 21 as RawFd,
        flags: 0,
    };
    assert_eq!(decode(&bytes), Ok(WireMessage::Open(open.clone())));
    assert_eq!(WireMessage::Open(open).encode(), bytes);
}

#[test]
fn close_is_the_header_alone() {
    let bytes = message(&[8, 1, 16, 3], b"");
    assert_eq!(
        decode(&bytes),
        Ok(WireMessage::Close(Close {
            msg_id: 8,
            object_id: 3
        }))
    );
}

#[test]
fn read_has_offset_and_length() {
    let payload = [0x1_0000_0000u64.to_ne_bytes(), 0x2_0000u64.to_ne_bytes()].concat();
    let bytes = message(&[9, 2, 32, 3], &payload);
    let read = Read {
        msg_id: 9,
        object_id: 3,
        off: 0x1_0000_0000,
        len: 0x2_0000,
    };
    assert_eq!(decode(&bytes), Ok(WireMessage::Read(read)));
}

#[test]
fn what_is_no_message_is_refused_by_name() {
    let open = |volume, cookie, fd, keys: &[u8]| {
        let length = u32::try_from(32 + keys.len()).unwrap();
        decode(&message(&[1, 0, length, 2, volume, cookie, fd, 0], keys)).unwrap_err()
    };
    assert_eq!(
        decode(b"").unwrap_err(),
        DecodeError::TooShort { got: 0, wanted: 16 }
    );
    assert_eq!(
        decode(&[0; 15]).unwrap_err(),
        DecodeError::TooShort {
            got: 15,
            wanted: 16
        }
    );
    let wrong_length = message(&[1, 1, 17, 2], b"");
    assert_eq!(
        decode(&wrong_length).unwrap_err(),
        DecodeError::LengthMismatch {
            header: 17,
            got: 16
        }
    );
    assert_eq!(
        decode(&message(&[1, 3, 16, 2], b"")).unwrap_err(),
        DecodeError::UnknownOpcode(3)
    );
    assert_eq!(
        decode(&message(&[1, 1, 17, 2], b"x")).unwrap_err(),
        DecodeError::TrailingBytes(1)
    );
    assert_eq!(
        decode(&message(&[1, 2, 24, 2, 0, 0], b"")).unwrap_err(),
        DecodeError::TooShort {
            got: 24,
            wanted: 32
        }
    );
    assert_eq!(
        decode(&message(&[1, 2, 33, 2, 0, 0, 0, 0], b"x")).unwrap_err(),
        DecodeError::TrailingBytes(1)
    );
    assert_eq!(
        decode(&message(&[1, 0, 20, 2, 0], b"")).unwrap_err(),
        DecodeError::TooShort {
            got: 20,
            wanted: 32
        }
    );
    assert_eq!(
        open(2, 1, 0, b"a\0"),
        DecodeError::KeySizes {
            volume: 2,
            cookie: 1,
            got: 2
        }
    );
    assert_eq!(
        open(9, 0, 0, b"a\0"),
        DecodeError::KeySizes {
            volume: 9,
            cookie: 0,
            got: 2
        }
    );
    assert_eq!(
        open(u32::MAX, 3, 0, b"a\0"),
        DecodeError::KeySizes {
            volume: u32::MAX,
            cookie: 3,
            got: 2
        }
    );
    assert_eq!(open(2, 0, 0, b"ab"), DecodeError::VolumeKey);
    assert_eq!(open(0, 2, 0, b"ab"), DecodeError::VolumeKey);
    assert_eq!(open(3, 0, 0, b"\0a\0"), DecodeError::VolumeKey);
    assert_eq!(
        open(2, 0, u32::MAX, b"a\0"),
        DecodeError::FileDescriptor(u32::MAX)
    );
}

/// Fan-out and file name, as the C module's own code computes them for volume key and cookie key.
#[test]
fn names_are_those_of_the_c_module() {
    const IMG: &str = "erofs,img";
    const DOMAIN: &str = "erofs,a-longer-domain.example";
    let golden: [(&str, &[u8], &str, &str); 18] = [
        // Seen on a disk that the C module had written.
        ("erofs,image.img", b"image.img", "@75", "Dimage.img"),
        ("erofs,image.img", b"image.blob", "@ef", "Dimage.blob"),
        (IMG, b"img", "@e1", "Dimg"),
        (IMG, b"blob.data", "@ea", "Dblob.data"),
        (IMG, b"with blank", "@a8", "E2TB6tE1yoI5CrH100"),
        (IMG, &[0, 0, 0, 1], "@be", "S1"),
        (IMG, &[1, 0, 0, 0], "@5f", "T1"),
        (IMG, &[1, 2, 3, 4, 5, 6, 7, 8], "@57", "E118M04kw17w00"),
        (IMG, &[0xff], "@a1", "Tff"),
        (IMG, b"/\0\0\0\0", "@43", "T2f,"),
        (IMG, b"\0\0\0\0\0\0\0/", "@0b", "S,2f"),
        (IMG, b"//", "@d3", "T2f2f"),
        (
            IMG,
            &[0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff],
            "@b7",
            "E0-3M-0Yf0-3M-",
        ),
        (
            IMG,
            &[0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9, 0xf8, 0xf7, 0xf6, 0xf5],
            "@1b",
            "E2_Tf-XHv_UvLZR300",
        ),
        (DOMAIN, b"img", "@d4", "Dimg"),
        (DOMAIN, &[0x7f], "@60", "D\x7f"),
        (DOMAIN, &[0], "@d3", "S"),
        (DOMAIN, b"\n\x0b", "@d9", "Tb0a"),
    ];
    for (volume, key, fanout, name) in golden {
        let path = key_path(volume.as_bytes(), key);
        assert_eq!(
            path.to_str(),
            Some(format!("cache/I{volume}/{fanout}/{name}").as_str())
        );
    }
}
