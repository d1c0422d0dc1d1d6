// SPDX-License-Identifier: GPL-2.0

//! Messages: what the driver lays out, the protocol crate reads.

use crate::driver::message::{MAX_LEN, Message, Payload};
use crate::{take, take_u64};
use cachefiles_protocol::WireMessage;

/// Lays out a message of each kind; and reads the input as one.
pub fn message(data: &[u8]) {
    if let Ok(decoded) = WireMessage::try_from(data) {
        let again = WireMessage::try_from(&decoded.encode()[..]);
        assert_eq!(again.as_ref(), Ok(&decoded));
    }

    let mut rest = data;
    let ids = take_u64(&mut rest);
    let (msg_id, object_id) = (ids as u32, (ids >> 32) as u32);
    let (off, len) = (take_u64(&mut rest), take_u64(&mut rest));
    let fd = take_u64(&mut rest) as u32 & 0x7fff_ffff;
    let volume_len = usize::from(len as u8);
    let mut volume_key = take(&mut rest, volume_len).to_vec();
    // As netfs has it.
    volume_key.retain(|&byte| byte != 0);
    let key = volume_key.clone();
    volume_key.push(0);
    let cookie_key = rest;

    let open = Payload::Open {
        volume_key: &volume_key,
        cookie_key,
        fd,
    };
    for payload in [open, Payload::Close, Payload::Read { off, len }] {
        let Some(message) = Message::new(msg_id, object_id, payload) else {
            assert!(payload.message_len() > MAX_LEN);
            continue;
        };
        let bytes = bytes(&message);
        assert_eq!(bytes.len(), payload.message_len());
        assert!(bytes.len() <= MAX_LEN);
        let short = &bytes[..bytes.len() - 1];
        assert!(WireMessage::try_from(short).is_err());

        let decoded = match WireMessage::try_from(&bytes[..]) {
            Ok(decoded) => decoded,
            // Keys that netfs does not make.
            Err(_) if key.is_empty() || cookie_key.is_empty() => continue,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(decoded.encode(), bytes);
        assert_eq!((decoded.msg_id(), decoded.object_id()), (msg_id, object_id));
        match decoded {
            WireMessage::Open(open) => {
                assert_eq!(open.volume_key, key);
                assert_eq!(open.cookie_key, cookie_key);
                assert_eq!((open.fd, open.flags), (fd as i32, 0));
            }
            WireMessage::Close(_) => assert_eq!(payload, Payload::Close),
            WireMessage::Read(read) => {
                assert_eq!(payload, Payload::Read { off, len });
                assert_eq!((read.off, read.len), (off, len));
            }
        }
    }
}

/// The message as it is copied out.
fn bytes(message: &Message<'_>) -> Vec<u8> {
    let (words, keys): (&[u32], [&[u8]; 2]) = match message {
        Message::Bare(words) => (words, [&[]; 2]),
        Message::Full(words, keys) => (words, *keys),
    };
    let words = words.iter().flat_map(|word| word.to_ne_bytes());
    words.chain(keys.concat()).collect()
}
