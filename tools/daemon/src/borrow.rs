// SPDX-License-Identifier: GPL-2.0
//! The device of a daemon that runs: a copy of its fd.
//!
//! The kernel lets one process open the device, and a daemon has it. But root may copy an fd out of
//! another process, as a debugger may, and the kernel takes commands from whoever has one. The copy
//! is gone with the program that has it, which runs for a moment.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cachefiles_protocol::{DEVICE_PATH, Device};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::holders::{self, Holders};

/// Who has the device open.
pub fn holders() -> Holders {
    Holders::of(Path::new(DEVICE_PATH), Path::new("/proc"))
}

/// The device, out of a process that has it.
pub fn device() -> Result<Device> {
    let holders = holders();
    if holders.found.is_empty() {
        bail!("there is no daemon to do this with ({DEVICE_PATH}: {holders})");
    }
    let mut why = None;
    for holder in &holders.found {
        match copy(holder.pid) {
            Ok(device) => return Ok(device),
            Err(error) => why = Some(error),
        }
    }
    let why = why.context("nobody has it any more")?;
    Err(why.context(format!("cannot use {DEVICE_PATH} ({holders})")))
}

fn copy(process: u32) -> Result<Device> {
    let fds = Path::new("/proc").join(process.to_string()).join("fd");
    let number = number_of(&fds, Path::new(DEVICE_PATH)).context("it was closed just now")?;
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pid = pid.context("no process id")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("it has ended just now")?;
    match pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()) {
        Ok(fd) => Ok(Device::from(fd)),
        Err(Errno::PERM) => bail!(
            "only root may, and not where kernel.yama.ptrace_scope is 3 or this is a container"
        ),
        Err(errno) => Err(errno).context("copying its fd"),
    }
}

/// The number under which a process has a file open.
fn number_of(fds: &Path, file: &Path) -> Option<i32> {
    let entries = fs::read_dir(fds).ok()?.flatten();
    let mut numbers = entries.filter_map(|entry| {
        holders::is_of(&entry.path(), file).then(|| entry.file_name().to_str()?.parse().ok())?
    });
    numbers.next()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_fd_of_the_device_is_found_among_others() {
        let fds = tempfile::tempdir().unwrap();
        let of = || number_of(fds.path(), Path::new(DEVICE_PATH));
        for (number, target) in [("0", "/dev/null"), ("5", "anon_inode:[cachefiles]")] {
            symlink(target, fds.path().join(number)).unwrap();
        }
        assert_eq!(of(), None);
        symlink(DEVICE_PATH, fds.path().join("17")).unwrap();
        assert_eq!(of(), Some(17));
        assert_eq!(number_of(&fds.path().join("no"), Path::new("/")), None);
    }

    #[test]
    fn a_file_of_this_process_can_be_copied_out_of_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let number = number_of(Path::new("/proc/self/fd"), file.path()).unwrap();
        let pidfd = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
        pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).unwrap();
    }
}
