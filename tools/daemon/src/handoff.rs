// SPDX-License-Identifier: GPL-2.0
//! How the device passes from its holder to a worker: one message on a Unix socket.
//!
//! The message's fds are named in its text, joined by colons, as systemd names the fds it passes:
//! `cachefiles` is the device, bound already, and `stats` (optional) the file that counters go to.
//! The worker answers `ready` when it is about to read its first request. Any holder that speaks
//! this can replace the supervisor.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use cachefiles_protocol::{Device, recv_fds, send_fds};

/// Name of the device's fd, here and in systemd's fd store.
pub const DEVICE_NAME: &str = "cachefiles";

/// Name of the fd of the counters.
pub const STATS_NAME: &str = "stats";

/// The worker's answer.
pub const READY: &[u8] = b"ready\n";

/// What a worker was given.
#[derive(Debug)]
pub struct Handoff {
    /// The device, bound.
    pub device: Device,
    /// The file for the counters.
    pub stats: Option<File>,
}

/// Gives the device, and the counters' file if there is one, to the peer.
pub fn give(socket: &UnixStream, device: BorrowedFd<'_>, stats: Option<&File>) -> Result<()> {
    let mut names = DEVICE_NAME.to_owned();
    let mut fds = vec![device];
    if let Some(stats) = stats {
        names = format!("{names}:{STATS_NAME}");
        fds.push(stats.as_fd());
    }
    names.push('\n');
    let sent =
        send_fds(socket, names.as_bytes(), &fds).context("passing the device to the worker")?;
    // A line this short fits any socket buffer, so less can only mean a broken peer.
    if sent != names.len() {
        bail!("passing the device to the worker: the message was cut")
    }
    Ok(())
}

/// Takes what [`give`] sends.
pub fn take(socket: &UnixStream) -> Result<Handoff> {
    let mut text = [0; 256];
    let (length, fds) = recv_fds(socket, &mut text).context("receiving the device")?;
    if length == 0 {
        bail!("the holder of the device closed the connection without passing it");
    }
    let names = text
        .get(..length)
        .and_then(|text| std::str::from_utf8(text).ok())
        .unwrap_or_default();
    let names: Vec<&str> = names.trim_end().split(':').collect();
    if names.len() != fds.len() {
        bail!(
            "the holder of the device named {} fds ({names:?}) and passed {}",
            names.len(),
            fds.len()
        );
    }
    let (mut device, mut stats) = (None, None);
    for (name, fd) in names.into_iter().zip(fds) {
        match name {
            DEVICE_NAME => device = Some(Device::from(fd)),
            STATS_NAME => stats = Some(File::from(fd)),
            other => tracing::warn!("ignoring the fd {other:?} from the holder of the device"),
        }
    }
    let device = device.context("the holder passed no fd with the name `cachefiles`")?;
    Ok(Handoff { device, stats })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn device_and_stats_arrive_under_their_names() {
        let (near, far) = UnixStream::pair().unwrap();
        let (mut device, mut stats) =
            (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        give(&near, device.as_fd(), Some(&stats)).unwrap();
        let taken = take(&far).unwrap();
        File::from(OwnedFd::from(taken.device))
            .write_all(b"device")
            .unwrap();
        taken.stats.unwrap().write_all(b"stats").unwrap();
        for (file, wanted) in [(&mut device, "device"), (&mut stats, "stats")] {
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, wanted);
        }
    }

    #[test]
    fn a_holder_that_passes_nothing_is_an_error() {
        let (near, far) = UnixStream::pair().unwrap();
        (&near).write_all(b"cachefiles\n").unwrap();
        assert!(take(&far).unwrap_err().to_string().contains("passed 0"));
        drop(near);
        assert!(
            take(&far)
                .unwrap_err()
                .to_string()
                .contains("closed the connection")
        );
    }

    #[test]
    fn an_fd_by_another_name_is_not_the_device() {
        let (near, far) = UnixStream::pair().unwrap();
        send_fds(&near, b"other\n", &[near.as_fd()]).unwrap();
        assert!(
            take(&far)
                .unwrap_err()
                .to_string()
                .contains("no fd with the name")
        );
    }
}
