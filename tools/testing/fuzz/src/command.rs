// SPDX-License-Identifier: GPL-2.0

//! The commands of the device.

use crate::driver::command::{
    BadNumber, Command, NAMES, NotACommand, parse, parse_cfail, parse_copen, parse_debug_mask,
    parse_readahead, parse_seconds,
};
use crate::driver::limits::{BadLimit, Limits};

/// Reads the input as a command, as the argument of `copen`, and as a mask.
pub fn command(data: &[u8]) {
    let parsed = parse(data);
    assert_eq!(shape(&parsed), expected_shape(data));
    match parsed {
        Ok(Command::Limit(limit, text)) => {
            let mut limits = Limits::DEFAULT;
            let result = limits.set(limit, text);
            if result.is_err() {
                assert_eq!(limits, Limits::DEFAULT);
            }
            if text.last() != Some(&b'%') {
                assert_eq!(result, Err(BadLimit::Malformed));
            }
        }
        Ok(Command::Copen(text)) => check_copen(text),
        Ok(Command::Cfail(text)) => check_cfail(text),
        Ok(Command::Debug(text)) => check_mask(text),
        _ => {}
    }
    check_copen(data);
    check_cfail(data);
    check_timeout(data);
    check_readahead(data);
    check_mask(data);
}

/// Name and argument of a command, or whether it is unknown (`Some`) or malformed (`None`).
type Shape = Result<(Vec<u8>, Vec<u8>), Option<()>>;

fn shape(parsed: &Result<Command<'_>, NotACommand>) -> Shape {
    let (name, args) = match *parsed {
        Err(NotACommand::Malformed) => return Err(None),
        Err(NotACommand::Unknown) => return Err(Some(())),
        Ok(Command::Bind(args)) => ("bind".to_owned(), args),
        Ok(Command::Limit(limit, args)) => {
            // `BlocksCull` is `bcull`.
            let limit = format!("{limit:?}").to_lowercase();
            let kind = limit
                .trim_start_matches("blocks")
                .trim_start_matches("files");
            (format!("{}{kind}", &limit[..1]), args)
        }
        Ok(Command::Cull(args)) => ("cull".to_owned(), args),
        Ok(Command::InUse(args)) => ("inuse".to_owned(), args),
        Ok(Command::Debug(args)) => ("debug".to_owned(), args),
        Ok(Command::Dir(args)) => ("dir".to_owned(), args),
        Ok(Command::Tag(args)) => ("tag".to_owned(), args),
        Ok(Command::SecCtx(args)) => ("secctx".to_owned(), args),
        Ok(Command::Copen(args)) => ("copen".to_owned(), args),
        Ok(Command::Cfail(args)) => ("cfail".to_owned(), args),
        Ok(Command::Timeout(args)) => ("timeout".to_owned(), args),
        Ok(Command::Linger(args)) => ("linger".to_owned(), args),
        Ok(Command::Readahead(args)) => ("readahead".to_owned(), args),
        Ok(Command::Attach(args)) => ("attach".to_owned(), args),
        Ok(Command::Daemonless(args)) => ("daemonless".to_owned(), args),
        Ok(Command::Mixed(args)) => ("mixed".to_owned(), args),
        // Takes none.
        Ok(Command::Restore) => ("restore".to_owned(), &[][..]),
    };
    Ok((name.into_bytes(), args.to_vec()))
}

fn expected_shape(data: &[u8]) -> Shape {
    if data.contains(&0) || data.first() == Some(&b'\n') {
        return Err(None);
    }
    let is_space = |byte: &u8| b"\t\n\x0b\x0c\r \xa0".contains(byte);
    let line = data.split(|&byte| byte == b'\n').next().unwrap();
    let mut parts = line.splitn(2, is_space);
    let name = parts.next().unwrap();
    let mut args = parts.next().unwrap_or(&[]);
    while args.first().is_some_and(is_space) {
        args = &args[1..];
    }
    if !NAMES.contains(&name) {
        return Err(Some(()));
    }
    if name == b"restore" {
        args = &[];
    }
    Ok((name.to_vec(), args.to_vec()))
}

/// The magnitude of a number as the kernel's `kstrto*()` read it: the base by the prefix, digits
/// to the end, at least one.
fn magnitude(text: &[u8]) -> Result<u64, BadNumber> {
    let text = std::str::from_utf8(text).map_err(|_| BadNumber::Malformed)?;
    let lower = text.to_ascii_lowercase();
    let (base, digits) = match lower.strip_prefix("0x") {
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_hexdigit()) => (16, digits),
        _ if lower.starts_with('0') => (8, &lower[..]),
        _ => (10, &lower[..]),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(BadNumber::Malformed);
    }
    u64::from_str_radix(digits, base).map_err(|_| BadNumber::TooLarge)
}

fn unsigned(text: &[u8]) -> Result<u64, BadNumber> {
    magnitude(text.strip_prefix(b"+").unwrap_or(text))
}

fn signed(text: &[u8]) -> Result<i64, BadNumber> {
    let value = match text.strip_prefix(b"-") {
        Some(rest) => -i128::from(magnitude(rest)?),
        None => i128::from(unsigned(text)?),
    };
    i64::try_from(value).map_err(|_| BadNumber::TooLarge)
}

fn check_copen(text: &[u8]) {
    let expected = match text.iter().position(|&byte| byte == b',') {
        None => Err(BadNumber::Malformed),
        Some(comma) => unsigned(&text[..comma]).map(|id| (id, signed(&text[comma + 1..]))),
    };
    assert_eq!(
        parse_copen(text).map(|copen| (copen.id, copen.size)),
        expected
    );
}

fn check_cfail(text: &[u8]) {
    let expected = match parse_copen(text) {
        Ok(copen) => match copen.size {
            Ok(errno) if errno < 0 && errno >= -4095 => Ok((copen.id, errno)),
            _ => Err(BadNumber::Malformed),
        },
        Err(error) => Err(error),
    };
    let parsed = parse_cfail(text).map(|cfail| (cfail.id, i64::from(cfail.errno)));
    assert_eq!(parsed, expected);
}

fn check_timeout(text: &[u8]) {
    let expected = match unsigned(text) {
        Ok(seconds @ 0..=86_400) => Ok(seconds as u32),
        _ => Err(BadNumber::Malformed),
    };
    assert_eq!(parse_seconds(text), expected);
}

fn check_readahead(text: &[u8]) {
    let expected = match unsigned(text) {
        Ok(kib @ 0..=16_384) => Ok(kib as u32),
        _ => Err(BadNumber::Malformed),
    };
    assert_eq!(parse_readahead(text), expected);
}

/// As `copen`'s numbers, but no digits are 0, and only the low 32 bits count.
fn check_mask(text: &[u8]) {
    let mask = parse_debug_mask(text);
    match magnitude(text) {
        Ok(value) => assert_eq!(mask, Ok(value as u32)),
        Err(BadNumber::TooLarge) => assert!(mask.is_ok()),
        Err(BadNumber::Malformed) if text.is_empty() => assert_eq!(mask, Ok(0)),
        Err(BadNumber::Malformed) => assert_eq!(mask, Err(BadNumber::Malformed)),
    }
}
