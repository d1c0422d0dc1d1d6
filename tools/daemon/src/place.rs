// SPDX-License-Identifier: GPL-2.0
//! Whether files and sockets could be made somewhere, before what is there is given up for them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Looks whether a socket could be put at a path, in place of one that is there.
pub fn check_socket(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            bail!("{} is there, and no socket", path.display())
        }
        _ => {}
    }
    let beside = beside(path);
    remove(&beside)
        .and_then(|()| UnixListener::bind(&beside))
        .and_then(|_| remove(&beside))
        .with_context(|| format!("no socket can be made at {}", path.display()))
}

/// Looks whether a file could be written, which is made if it is not there. Leaves one that is
/// there as it is.
pub fn check_file(path: &Path) -> Result<()> {
    let checked = match File::options().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let beside = beside(path);
            File::create(&beside).and_then(|_| remove(&beside))
        }
        opened => opened.map(drop),
    };
    checked.with_context(|| format!("cannot write {}", path.display()))
}

/// A name beside it that nobody else has.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_and_nothing_is_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let _socket = UnixListener::bind(path("socket")).unwrap();
        fs::write(path("file"), "counters").unwrap();
        check_socket(&path("socket")).unwrap();
        check_socket(&path("new")).unwrap();
        check_file(&path("file")).unwrap();
        check_file(&path("new")).unwrap();
        assert_eq!(fs::read(path("file")).unwrap(), b"counters");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        for wrong in ["file", "absent/socket", "."] {
            check_socket(&path(wrong)).unwrap_err();
        }
        for wrong in ["socket", "absent/file", "."] {
            check_file(&path(wrong)).unwrap_err();
        }
    }
}
