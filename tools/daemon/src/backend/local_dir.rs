// SPDX-License-Identifier: GPL-2.0
//! Blobs as the files of one directory, named by cookie key.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Backend, Blob};

/// The directory. It is held open, so that renaming it changes nothing.
#[derive(Debug)]
pub struct LocalDir {
    dir: OwnedFd,
}

impl LocalDir {
    /// Opens the directory.
    pub fn new(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())
            .with_context(|| format!("cannot open the directory of blobs {}", path.display()))?;
        Ok(Self { dir })
    }
}

/// Whether a key is the name of a file in a directory, and not a path that leads elsewhere.
fn is_file_name(key: &[u8]) -> bool {
    !matches!(key, b"" | b"." | b"..") && !key.contains(&b'/') && !key.contains(&0)
}

impl Backend for LocalDir {
    fn open(&self, _volume_key: &[u8], cookie_key: &[u8]) -> io::Result<Box<dyn Blob>> {
        // The key comes out of an image, so it is not to be trusted with a path.
        if !is_file_name(cookie_key) {
            return Err(Errno::INVAL.into());
        }
        // Non-blocking, so that a FIFO of that name cannot stop the daemon.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(
            &self.dir,
            OsStr::from_bytes(cookie_key),
            flags,
            Mode::empty(),
        )?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL.into());
        }
        let size = u64::try_from(stat.st_size).map_err(|_| Errno::OVERFLOW)?;
        Ok(Box::new(LocalFile {
            file: file.into(),
            size,
        }))
    }
}

/// One file of the directory.
struct LocalFile {
    file: File,
    size: u64,
}

impl Blob for LocalFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(result: io::Result<Box<dyn Blob>>) -> Option<i32> {
        result.err().and_then(|error| error.raw_os_error())
    }

    #[test]
    fn finds_files_by_key_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("blob"), b"content").unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        let inside = dir.path().join("folder/inside");
        std::fs::write(inside, b"x").unwrap();
        let backend = LocalDir::new(dir.path()).unwrap();
        let blob = backend.open(b"erofs,blob", b"blob").unwrap();
        let mut buffer = [0; 4];
        blob.read_exact_at(&mut buffer, 3).unwrap();
        assert_eq!((blob.size(), &buffer), (7, b"tent"));
        assert!(blob.read_exact_at(&mut buffer, 4).is_err());
        assert_eq!(
            errno(backend.open(b"v", b"absent")),
            Some(Errno::NOENT.raw_os_error())
        );
        for key in [
            &b""[..],
            b".",
            b"..",
            b"folder/inside",
            b"/etc/passwd",
            b"a\0b",
            b"folder",
        ] {
            assert_eq!(
                errno(backend.open(b"v", key)),
                Some(Errno::INVAL.raw_os_error()),
                "{key:?}"
            );
        }
    }
}
