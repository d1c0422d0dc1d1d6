// SPDX-License-Identifier: GPL-2.0
//! Which processes have the device open, for whoever finds it busy.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// How much of a command line is shown, in characters.
const SHOWN: usize = 120;

/// A process that has the device open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its command line, or its name if it has none.
    pub command: String,
}

/// Those that were found.
#[derive(Debug, Default)]
pub struct Holders {
    /// Other processes than this one, by id.
    pub found: Vec<Holder>,
    /// Whether there are processes whose files may not be looked at.
    pub hidden: bool,
}

impl Holders {
    /// Looks through the processes below `proc`.
    pub fn of(device: &Path, proc: &Path) -> Self {
        let mut holders = Self::default();
        let entries = fs::read_dir(proc).into_iter().flatten().flatten();
        let own = std::process::id();
        let processes = entries.filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            (pid != own).then(|| (pid, entry.path()))
        });
        for (pid, path) in processes {
            match has_open(&path, device) {
                Ok(true) => holders.found.push(Holder {
                    pid,
                    command: command(&path),
                }),
                Ok(false) => {}
                Err(error) => {
                    holders.hidden |= error.kind() == io::ErrorKind::PermissionDenied;
                }
            }
        }
        holders.found.sort_by_key(|holder| holder.pid);
        holders
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = ", and perhaps by others, which only root can see";
        for (index, Holder { pid, command }) in self.found.iter().enumerate() {
            let before = if index == 0 { "it is held by " } else { ", " };
            write!(f, "{before}process {pid} ({command})")?;
        }
        match (self.found.is_empty(), self.hidden) {
            (true, true) => f.write_str("only root can see which process holds it"),
            (true, false) => f.write_str(
                "no process that can be seen from here holds it: look outside of this container",
            ),
            (false, true) => f.write_str(hidden),
            (false, false) => Ok(()),
        }
    }
}

fn has_open(process: &Path, device: &Path) -> io::Result<bool> {
    for fd in fs::read_dir(process.join("fd"))? {
        if is_of(&fd?.path(), device) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a link of `/proc` is to the device. A service has mounts of its own, and systemd keeps
/// its fds when these are gone: then the path has no directory, and the device number tells.
pub fn is_of(link: &Path, device: &Path) -> bool {
    // One that was closed meanwhile is none.
    let Ok(target) = fs::read_link(link) else {
        return false;
    };
    // Files of other names are not looked at: those of a server that is away might not answer.
    target == device || (target.file_name() == device.file_name() && is_same_node(link, device))
}

fn is_same_node(link: &Path, device: &Path) -> bool {
    let number = |path: &Path| {
        let about = fs::metadata(path).ok()?;
        about.file_type().is_char_device().then(|| about.rdev())
    };
    number(link).is_some_and(|it| number(device) == Some(it))
}

/// What the process was started as, in one line.
fn command(process: &Path) -> String {
    let text = |name| fs::read(process.join(name)).unwrap_or_default();
    let line = match text("cmdline") {
        line if line.is_empty() => text("comm"),
        line => line,
    };
    let words: Vec<String> = line
        .split(|&byte| byte == 0 || byte == b'\n')
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).escape_debug().to_string())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A `/proc` with processes that have files open.
    fn proc(processes: &[(u32, &[u8], &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (pid, cmdline, file) in processes {
            let process = dir.path().join(pid.to_string());
            fs::create_dir_all(process.join("fd")).unwrap();
            fs::write(process.join("cmdline"), cmdline).unwrap();
            fs::write(process.join("comm"), "name\n").unwrap();
            symlink("/dev/null", process.join("fd/0")).unwrap();
            symlink(file, process.join("fd/7")).unwrap();
        }
        fs::create_dir_all(dir.path().join("self/fd")).unwrap();
        dir
    }

    fn holders(proc: &tempfile::TempDir) -> Holders {
        Holders::of(Path::new("/dev/cachefiles"), proc.path())
    }

    #[test]
    fn holders_are_named_with_id_and_command() {
        let proc = proc(&[
            (712, b"/usr/bin/nydusd\0--fscache\0", "/dev/cachefiles"),
            (9, b"", "/dev/cachefiles"),
            (4, b"other\0", "/dev/zero"),
            (std::process::id(), b"self\0", "/dev/cachefiles"),
        ]);
        let wanted = "it is held by process 9 (name), process 712 (/usr/bin/nydusd --fscache)";
        assert_eq!(holders(&proc).to_string(), wanted);
    }

    /// As of a service that systemd has started anew: its first mounts are gone.
    #[test]
    fn a_device_that_is_mounted_elsewhere_is_known_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let link = |name: &str, target: &Path| {
            let path = dir.path().join(name);
            symlink(target, &path).unwrap();
            path
        };
        let (null, zero) = (Path::new("/dev/null"), Path::new("/dev/zero"));
        let elsewhere = link("null", null);
        assert!(is_of(&link("7", &elsewhere), null));
        assert!(!is_of(&link("8", zero), null));
        assert!(!is_of(&link("9", Path::new("/absent/null")), null));
    }

    #[test]
    fn what_cannot_be_seen_is_said() {
        let mut nobody = holders(&proc(&[(4, b"other\0", "/dev/zero")]));
        assert!(nobody.to_string().contains("no process that can be seen"));
        nobody.hidden = true;
        assert!(nobody.to_string().contains("only root can see"));
        let mut one = holders(&proc(&[(4, b"other\0", "/dev/cachefiles")]));
        one.hidden = true;
        assert!(one.to_string().contains("process 4 (other), and perhaps"));
    }

    #[test]
    fn long_and_odd_command_lines_are_one_short_line() {
        let long = [b"x\x1b[2J\0".as_slice(), &[b'a'; 4000]].concat();
        let said = holders(&proc(&[(4, &long, "/dev/cachefiles")])).to_string();
        assert!(
            said.len() < 200 && said.contains("x\\u{1b}[2J aaa"),
            "{said}"
        );
    }
}
