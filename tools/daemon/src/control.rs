// SPDX-License-Identifier: GPL-2.0
//! How a supervisor takes the device over from a worker whose own supervisor is dead.
//!
//! The worker listens on a socket in the runtime directory. A supervisor that finds the device busy
//! asks there, by one line with the directory of its cache: `adopt DIR`. A worker that has lost its
//! supervisor answers as a holder does (see [`crate::handoff`]), and leaves; any other answers `no
//! REASON`. Each looks who the other is: root, or the same user.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cachefiles_protocol::{Device, recv_fds};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};

use crate::handoff;

/// The socket's name in the runtime directory.
const SOCKET: &str = "control";

/// How long the other side may take to answer, and a worker to leave.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the socket of this runtime directory is.
pub fn path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(SOCKET)
}

/// Listens there, in place of whoever did before.
pub fn listen(path: &Path) -> Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(path),
    }
    .with_context(|| format!("cannot listen at {}", path.display()))
}

/// The worker's side: what it has, and whose it is.
#[derive(Debug)]
pub struct Keeper {
    /// The cache's directory, in full; none if it is not known.
    pub dir: Option<PathBuf>,
    /// The connection to the supervisor, which ends with that.
    pub supervisor: Option<UnixStream>,
}

impl Keeper {
    /// Answers whoever has connected. True if the device was handed over.
    pub fn answer(&self, connection: &UnixStream, device: &Device) -> Result<bool> {
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        peer(connection)?;
        let mut request = [0; 4200];
        let mut stream = connection;
        let length = stream.read(&mut request).context("reading the request")?;
        let request = request.get(..length).unwrap_or_default();
        match self.refusal(request) {
            Some(reason) => {
                // In one piece: the other side reads once.
                let answer = format!("no {reason}\n");
                stream.write_all(answer.as_bytes()).context("answering")?;
                Ok(false)
            }
            None => handoff::give(connection, device.as_fd(), None).map(|()| true),
        }
    }

    /// Why the device is not given away, if it is not.
    fn refusal(&self, request: &[u8]) -> Option<String> {
        let Some(dir) = request
            .strip_prefix(b"adopt ")
            .and_then(|rest| rest.strip_suffix(b"\n"))
        else {
            return Some("this is no request that I know".into());
        };
        let own = self.dir.as_deref().unwrap_or(Path::new(""));
        if own.as_os_str().as_bytes() != dir {
            return Some(format!("my cache is in {}", own.display()));
        }
        match &self.supervisor {
            Some(supervisor) if !is_gone(supervisor) => {
                let pid = peer(supervisor).map_or(0, |pid| pid.as_raw_nonzero().get());
                Some(format!("my supervisor lives: process {pid}"))
            }
            _ => None,
        }
    }
}

/// Whether the other end is closed.
pub fn is_gone(connection: &UnixStream) -> bool {
    let mut fds = [PollFd::new(connection, PollFlags::RDHUP)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&Timespec::default())));
    let [connection] = fds;
    let closed = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
    ready.is_ok() && connection.revents().intersects(closed)
}

/// The process at the other end, if it is one that may ask for the device, or give it.
fn peer(connection: &UnixStream) -> Result<Pid> {
    let peer = socket_peercred(connection).context("looking who the other is")?;
    ensure!(
        peer.uid.is_root() || peer.uid == geteuid(),
        "process {} of user {} has no business here",
        peer.pid.as_raw_nonzero(),
        peer.uid.as_raw()
    );
    Ok(peer.pid)
}

/// Takes the device over from a worker that has lost its supervisor, and waits until it is gone.
/// None if nobody listens.
pub fn adopt(path: &Path, dir: &Path) -> Result<Option<Device>> {
    let Ok(mut connection) = UnixStream::connect(path) else {
        return Ok(None);
    };
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let worker = peer(&connection)?;
    let pidfd = pidfd_open(worker, PidfdFlags::empty()).context("watching the worker")?;
    let request = [b"adopt ", dir.as_os_str().as_bytes(), b"\n"].concat();
    connection
        .write_all(&request)
        .context("asking the worker")?;
    let mut answer = [0; 1024];
    let (length, fds) = recv_fds(&connection, &mut answer)
        .with_context(|| format!("worker {} does not answer", worker.as_raw_nonzero()))?;
    let answer = String::from_utf8_lossy(answer.get(..length).unwrap_or_default());
    let Ok([device]) = <[OwnedFd; 1]>::try_from(fds) else {
        let reason = answer.trim().trim_start_matches("no ").to_owned();
        bail!("worker {} refuses: {reason}", worker.as_raw_nonzero());
    };
    tracing::info!(
        "took the device over from worker {}, whose supervisor is dead",
        worker.as_raw_nonzero()
    );
    wait_until_gone(&pidfd)?;
    Ok(Some(Device::from(device)))
}

fn wait_until_gone(pidfd: &OwnedFd) -> Result<()> {
    let timeout = Timespec::try_from(PATIENCE)?;
    let wait = || {
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))
    };
    if wait().context("waiting for the worker to leave")? == 0 {
        tracing::warn!("the worker does not leave, killing it");
        // ESRCH: it has left.
        let _ = pidfd_send_signal(pidfd, Signal::KILL);
        wait().context("waiting for the worker to die")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(supervisor: Option<UnixStream>) -> Keeper {
        Keeper {
            dir: Some("/var/cache/x".into()),
            supervisor,
        }
    }

    #[test]
    fn the_device_is_given_for_the_same_cache_and_an_orphan_only() {
        let (own, supervisor) = UnixStream::pair().unwrap();
        let held = keeper(Some(own));
        let refusal = |keeper: &Keeper, request: &[u8]| keeper.refusal(request);
        let lives = refusal(&held, b"adopt /var/cache/x\n").unwrap();
        let own_pid = format!("my supervisor lives: process {}", std::process::id());
        assert_eq!(lives, own_pid);
        drop(supervisor);
        assert_eq!(refusal(&held, b"adopt /var/cache/x\n"), None);
        assert_eq!(refusal(&keeper(None), b"adopt /var/cache/x\n"), None);
        let other = refusal(&held, b"adopt /var/cache\n").unwrap();
        assert_eq!(other, "my cache is in /var/cache/x");
        for request in [
            &b""[..],
            b"adopt",
            b"adopt /var/cache/x",
            b"give /var/cache/x\n",
        ] {
            assert!(refusal(&held, request).unwrap().contains("no request"));
        }
    }

    #[test]
    fn a_refusal_is_told_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path());
        assert!(adopt(&path, Path::new("/x")).unwrap().is_none());
        let listener = listen(&path).unwrap();
        let answering = std::thread::spawn(move || {
            let (connection, _) = listener.accept().unwrap();
            let device = Device::from(OwnedFd::from(tempfile::tempfile().unwrap()));
            keeper(None).answer(&connection, &device).unwrap()
        });
        let error = adopt(&path, Path::new("/x")).unwrap_err().to_string();
        assert!(
            error.contains("refuses: my cache is in /var/cache/x"),
            "{error}"
        );
        assert!(!answering.join().unwrap());
        // A socket that is left over is no obstacle to the next.
        super::listen(&path).unwrap();
    }
}
