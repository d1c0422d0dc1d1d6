// SPDX-License-Identifier: GPL-2.0
//! Normal forms: results, poll bits, bytes and log lines as short text that does not depend on the
//! run.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use cachefiles_harness::kmsg::KernelLog;
use cachefiles_protocol::{Device, Errno, ReceiveError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The names of the errnos that may be met.
const NAMES: &[(Errno, &str)] = &[
    (Errno::PERM, "EPERM"),
    (Errno::NOENT, "ENOENT"),
    (Errno::INTR, "EINTR"),
    (Errno::IO, "EIO"),
    (Errno::NXIO, "ENXIO"),
    (Errno::BADF, "EBADF"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::NOMEM, "ENOMEM"),
    (Errno::ACCESS, "EACCES"),
    (Errno::FAULT, "EFAULT"),
    (Errno::BUSY, "EBUSY"),
    (Errno::EXIST, "EEXIST"),
    (Errno::XDEV, "EXDEV"),
    (Errno::NODEV, "ENODEV"),
    (Errno::NOTDIR, "ENOTDIR"),
    (Errno::ISDIR, "EISDIR"),
    (Errno::INVAL, "EINVAL"),
    (Errno::NFILE, "ENFILE"),
    (Errno::MFILE, "EMFILE"),
    (Errno::NOTTY, "ENOTTY"),
    (Errno::FBIG, "EFBIG"),
    (Errno::NOSPC, "ENOSPC"),
    (Errno::SPIPE, "ESPIPE"),
    (Errno::ROFS, "EROFS"),
    (Errno::PIPE, "EPIPE"),
    (Errno::RANGE, "ERANGE"),
    (Errno::NAMETOOLONG, "ENAMETOOLONG"),
    (Errno::NOTEMPTY, "ENOTEMPTY"),
    (Errno::LOOP, "ELOOP"),
    (Errno::NODATA, "ENODATA"),
    (Errno::OVERFLOW, "EOVERFLOW"),
    (Errno::BADFD, "EBADFD"),
    (Errno::MSGSIZE, "EMSGSIZE"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP"),
    (Errno::NOBUFS, "ENOBUFS"),
    (Errno::ALREADY, "EALREADY"),
    (Errno::STALE, "ESTALE"),
];

/// The name of an errno.
pub fn name(errno: Errno) -> String {
    NAMES.iter().find(|(known, _)| *known == errno).map_or_else(
        || format!("errno {}", errno.raw_os_error()),
        |(_, name)| (*name).to_owned(),
    )
}

/// `ok`, or the errno's name.
pub fn said<T>(result: Result<T, Errno>) -> String {
    result.map_or_else(name, |_| "ok".into())
}

/// The value, or the errno's name.
pub fn value<T: std::fmt::Display>(result: Result<T, Errno>) -> String {
    result.map_or_else(name, |value| value.to_string())
}

/// `ok`, or the errno's name.
pub fn said_io<T>(result: io::Result<T>) -> String {
    said(result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)))
}

/// Whether a cached object could be had. With EIO or with ENOBUFS is a matter of timing.
pub fn cached<T>(result: Result<T, Errno>) -> String {
    match result {
        Err(Errno::IO | Errno::NOBUFS) => "fails".into(),
        other => said(other),
    }
}

/// The same of an I/O error.
pub fn cached_io<T>(result: io::Result<T>) -> String {
    cached(result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)))
}

/// The errno inside an error of a helper.
pub fn errno_in(error: &anyhow::Error) -> String {
    for cause in error.chain() {
        if let Some(errno) = cause.downcast_ref::<Errno>() {
            return name(*errno);
        }
        if let Some(ReceiveError::Read(errno)) = cause.downcast_ref::<ReceiveError>() {
            return name(*errno);
        }
    }
    format!("{error:#}")
}

/// Several results of one kind: one word if they are all the same, else each with its input.
pub fn each(results: impl IntoIterator<Item = (String, String)>) -> String {
    let results: Vec<(String, String)> = results.into_iter().collect();
    match results.first() {
        Some((_, first)) if results.iter().all(|(_, said)| said == first) => first.clone(),
        _ => results
            .iter()
            .map(|(input, said)| format!("{input:?}: {said}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// What the device answers to a command.
pub fn command(device: &Device, command: &str) -> String {
    said(device.command(command))
}

/// What poll says of an fd at once.
pub fn polls(fd: impl rustix::fd::AsFd) -> Result<String> {
    let all = PollFlags::IN | PollFlags::OUT | PollFlags::PRI;
    let mut fds = [PollFd::new(&fd, all)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now))?;
    Ok(bits(fds[0].revents()))
}

fn bits(seen: PollFlags) -> String {
    let names = [
        (PollFlags::IN, "IN"),
        (PollFlags::OUT, "OUT"),
        (PollFlags::PRI, "PRI"),
        (PollFlags::ERR, "ERR"),
        (PollFlags::HUP, "HUP"),
        (PollFlags::NVAL, "NVAL"),
    ];
    let set: Vec<&str> = names
        .iter()
        .filter(|(bit, _)| seen.contains(*bit))
        .map(|(_, name)| *name)
        .collect();
    if set.is_empty() {
        "nothing".into()
    } else {
        set.join("|")
    }
}

/// Bytes in hex, in groups of four.
pub fn hex(bytes: &[u8]) -> String {
    let words: Vec<String> = bytes
        .chunks(4)
        .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    words.join(" ")
}

/// The attribute of cache files and of volumes.
pub const ATTRIBUTE: &str = "user.CacheFiles.cache";

/// The attribute's bytes in hex, or the errno.
pub fn attribute(path: &Path) -> String {
    let mut bytes = [0; 512];
    match rustix::fs::getxattr(path, ATTRIBUTE, &mut bytes) {
        Ok(length) => hex(&bytes[..length]),
        Err(errno) => name(errno),
    }
}

/// A file's text without the white space around it, or the errno.
pub fn text_of(path: impl AsRef<Path>) -> String {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) => said_io::<()>(Err(error)),
    }
}

/// What the module said since the last call: lines that repeat their predecessor are left out.
/// Lines of information are part of the interface, word by word; of errors only that there is a
/// line.
pub fn logged(log: &mut KernelLog) -> Result<String> {
    let lines = log.lines().context("reading the kernel log")?;
    let mut seen: Vec<String> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("CacheFiles: "))
        .map(|line| {
            if is_information(line) {
                line.to_owned()
            } else {
                "an error".into()
            }
        })
        .collect();
    seen.dedup();
    Ok(if seen.is_empty() {
        "nothing".into()
    } else {
        seen.join("; ")
    })
}

fn is_information(line: &str) -> bool {
    let whole = ["Loaded", "Unloading", "Dirty object in cache"];
    let ends = [" registered", " unregistering"];
    whole.contains(&line)
        || ends.iter().any(|end| line.ends_with(end))
        || line.contains("what is fetched is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_names() {
        assert_eq!(said(Ok(3)), "ok");
        assert_eq!(said::<()>(Err(Errno::OPNOTSUPP)), "EOPNOTSUPP");
        assert_eq!(value::<u8>(Ok(3)), "3");
        assert_eq!(cached::<()>(Err(Errno::NOBUFS)), "fails");
        assert_eq!(name(Errno::from_raw_os_error(133)), "errno 133");
    }

    #[test]
    fn equal_results_are_said_once() {
        let pair = |input: &str, said: &str| (input.to_owned(), said.to_owned());
        assert_eq!(each([pair("a", "ok"), pair("b", "ok")]), "ok");
        assert_eq!(
            each([pair("a", "ok"), pair("b", "EIO")]),
            r#""a": ok, "b": EIO"#
        );
    }

    #[test]
    fn bytes_are_grouped() {
        assert_eq!(hex(&[1, 2, 3, 4, 255]), "01020304 ff");
    }
}
