// SPDX-License-Identifier: GPL-2.0

//! The commands that a daemon writes to the device, one a write.
//!
//! Numbers are read as the kernel's own parsers read them, because scripts and daemons were
//! written against those: `0x` and `0` choose the base where the base is free.
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

use super::limits::Limit;

/// A command, its argument still as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    Bind(&'a [u8]),
    Limit(Limit, &'a [u8]),
    Cull(&'a [u8]),
    InUse(&'a [u8]),
    Debug(&'a [u8]),
    Dir(&'a [u8]),
    Tag(&'a [u8]),
    SecCtx(&'a [u8]),
    Copen(&'a [u8]),
    Cfail(&'a [u8]),
    Timeout(&'a [u8]),
    Linger(&'a [u8]),
    Readahead(&'a [u8]),
    Mixed(&'a [u8]),
    Attach(&'a [u8]),
    Daemonless(&'a [u8]),
    Restore,
}

/// Why a write is not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotACommand {
    /// A NUL inside, or nothing in front of the newline: EINVAL.
    Malformed,
    /// No such command: EOPNOTSUPP.
    Unknown,
}

/// Splits a write into command and argument. What follows the first newline does not count.
pub(crate) fn parse(written: &[u8]) -> Result<Command<'_>, NotACommand> {
    // One look at each byte: `copen` comes once for each object.
    let (mut line_end, mut name_end) = (None, None);
    for (at, &byte) in written.iter().enumerate() {
        if byte == 0 {
            return Err(NotACommand::Malformed);
        }
        if is_space(byte) && line_end.is_none() {
            name_end = name_end.or(Some(at));
            line_end = (byte == b'\n').then_some(at);
        }
    }
    if line_end == Some(0) {
        return Err(NotACommand::Malformed);
    }
    let line = line_end
        .and_then(|end| written.get(..end))
        .unwrap_or(written);
    let name_end = name_end.unwrap_or(line.len());
    let name = line.get(..name_end).unwrap_or(line);
    let args = skip_spaces(line.get(name_end..).unwrap_or(&[]));

    command(name, args).ok_or(NotACommand::Unknown)
}

/// Defines the names of all commands, and the function that knows a command by its name, by one
/// table.
macro_rules! commands {
    ($args:ident: $($name:literal => $command:expr,)*) => {
        /// The names, from which the fuzzer, the hostile daemon and the test of the documentation
        /// take theirs.
        pub(crate) const NAMES: &[&[u8]] = &[$($name),*];

        fn command<'a>(name: &[u8], $args: &'a [u8]) -> Option<Command<'a>> {
            Some(match name {
                $($name => $command,)*
                _ => return None,
            })
        }
    };
}

commands! {
    args:
    b"bind" => Command::Bind(args),
    b"brun" => Command::Limit(Limit::BlocksRun, args),
    b"bcull" => Command::Limit(Limit::BlocksCull, args),
    b"bstop" => Command::Limit(Limit::BlocksStop, args),
    b"frun" => Command::Limit(Limit::FilesRun, args),
    b"fcull" => Command::Limit(Limit::FilesCull, args),
    b"fstop" => Command::Limit(Limit::FilesStop, args),
    b"cull" => Command::Cull(args),
    b"inuse" => Command::InUse(args),
    b"debug" => Command::Debug(args),
    b"dir" => Command::Dir(args),
    b"tag" => Command::Tag(args),
    b"secctx" => Command::SecCtx(args),
    b"copen" => Command::Copen(args),
    b"cfail" => Command::Cfail(args),
    b"timeout" => Command::Timeout(args),
    b"linger" => Command::Linger(args),
    b"readahead" => Command::Readahead(args),
    b"attach" => Command::Attach(args),
    b"daemonless" => Command::Daemonless(args),
    b"mixed" => Command::Mixed(args),
    b"restore" => Command::Restore,
}

// The module itself has no other use for the list.
const _: &[&[u8]] = NAMES;

/// What the argument of `copen` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copen {
    pub(crate) id: u64,
    /// The size of the object in bytes, or a negative errno; or the reason why it's neither.
    pub(crate) size: Result<i64, BadNumber>,
}

/// Reads `ID,SIZE`. An error is one that leaves the OPEN as it is.
pub(crate) fn parse_copen(args: &[u8]) -> Result<Copen, BadNumber> {
    let comma = args
        .iter()
        .position(|&byte| byte == b',')
        .ok_or(BadNumber::Malformed)?;
    Ok(Copen {
        id: parse_unsigned(args.get(..comma).unwrap_or(&[]))?,
        size: parse_signed(args.get(comma + 1..).unwrap_or(&[])),
    })
}

/// The largest errno: a number between it, negated, and -1 is one.
pub(crate) const MAX_ERRNO: i64 = 4095;

/// What the argument of `cfail` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cfail {
    pub(crate) id: u64,
    /// -4095 to -1.
    pub(crate) errno: i32,
}

/// Reads `ID,-ERRNO`.
pub(crate) fn parse_cfail(args: &[u8]) -> Result<Cfail, BadNumber> {
    let Copen { id, size } = parse_copen(args)?;
    match size {
        Ok(errno) if (-MAX_ERRNO..=-1).contains(&errno) => Ok(Cfail {
            id,
            errno: errno as i32,
        }),
        _ => Err(BadNumber::Malformed),
    }
}

/// The longest time that can be set: a day, in seconds.
const MAX_SECONDS: u64 = 86_400;

/// Reads the argument of `timeout` and `linger`: seconds, up to a day.
pub(crate) fn parse_seconds(args: &[u8]) -> Result<u32, BadNumber> {
    match parse_unsigned(args) {
        Ok(seconds @ 0..=MAX_SECONDS) => Ok(seconds as u32),
        _ => Err(BadNumber::Malformed),
    }
}

/// Reads the argument of `daemonless` and `mixed`: 0 or 1.
pub(crate) fn parse_switch(args: &[u8]) -> Result<bool, BadNumber> {
    match args {
        b"0" => Ok(false),
        b"1" => Ok(true),
        _ => Err(BadNumber::Malformed),
    }
}

/// The largest `readahead`, in KiB.
const MAX_READAHEAD: u64 = 16_384;

/// Reads the argument of `readahead`: KiB, up to 16 MiB.
pub(crate) fn parse_readahead(args: &[u8]) -> Result<u32, BadNumber> {
    match parse_unsigned(args) {
        Ok(kib @ 0..=MAX_READAHEAD) => Ok(kib as u32),
        _ => Err(BadNumber::Malformed),
    }
}

/// Reads the mask of `debug`. No digits at all are 0; only the low 32 bits count.
pub(crate) fn parse_debug_mask(args: &[u8]) -> Result<u32, BadNumber> {
    let (base, digits) = split_base(args);
    let mut mask = 0u32;
    for &byte in digits {
        mask = mask.wrapping_mul(base).wrapping_add(digit(byte, base)?);
    }
    Ok(mask)
}

/// Why a number can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadNumber {
    /// No digits, or something else than digits: EINVAL.
    Malformed,
    /// Does not fit 64 bits: ERANGE.
    TooLarge,
}

fn parse_unsigned(text: &[u8]) -> Result<u64, BadNumber> {
    parse_magnitude(text.strip_prefix(b"+").unwrap_or(text))
}

fn parse_signed(text: &[u8]) -> Result<i64, BadNumber> {
    match text.strip_prefix(b"-") {
        Some(magnitude) => {
            let magnitude = parse_magnitude(magnitude)?;
            0i64.checked_sub_unsigned(magnitude)
                .ok_or(BadNumber::TooLarge)
        }
        None => i64::try_from(parse_unsigned(text)?).map_err(|_| BadNumber::TooLarge),
    }
}

fn parse_magnitude(text: &[u8]) -> Result<u64, BadNumber> {
    let (base, digits) = split_base(text);
    if digits.is_empty() {
        return Err(BadNumber::Malformed);
    }
    if digits.len() <= SAFE_DIGITS {
        let mut value = 0;
        for &byte in digits {
            value = value * u64::from(base) + u64::from(digit(byte, base)?);
        }
        return Ok(value);
    }
    // Text that is no number is malformed, however long the digits in front.
    let mut value = Some(0u64);
    for &byte in digits {
        let digit = digit(byte, base)?;
        value = value
            .and_then(|value| value.checked_mul(u64::from(base)))
            .and_then(|value| value.checked_add(u64::from(digit)));
    }
    value.ok_or(BadNumber::TooLarge)
}

/// So many digits of any base fit 64 bits.
const SAFE_DIGITS: usize = 15;

fn digit(byte: u8, base: u32) -> Result<u32, BadNumber> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => return Err(BadNumber::Malformed),
    };
    let digit = u32::from(digit);
    if digit < base {
        Ok(digit)
    } else {
        Err(BadNumber::Malformed)
    }
}

/// Chooses the base by the number's prefix: `0x` is 16 (given a digit after it), `0` is 8.
fn split_base(text: &[u8]) -> (u32, &[u8]) {
    match text {
        [b'0', b'x' | b'X', digits @ ..] if digits.first().is_some_and(u8::is_ascii_hexdigit) => {
            (16, digits)
        }
        [b'0', ..] => (8, text),
        _ => (10, text),
    }
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let start = text
        .iter()
        .position(|&byte| !is_space(byte))
        .unwrap_or(text.len());
    text.get(start..).unwrap_or(&[])
}

/// Knows white space as the kernel's `isspace()`: ASCII white space and Latin-1's hard space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0)
}
