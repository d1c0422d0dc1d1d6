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
        let state = FileState::of(&stat)?;
        Ok(Box::new(LocalFile {
            file: file.into(),
            state,
        }))
    }
}

/// What tells one content of a file from another, short of reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState {
    size: u64,
    modified: (i64, i64),
}

impl FileState {
    fn of(stat: &rustix::fs::Stat) -> io::Result<Self> {
        let size = u64::try_from(stat.st_size).map_err(|_| Errno::OVERFLOW)?;
        let nanoseconds = i64::try_from(stat.st_mtime_nsec).map_err(|_| Errno::OVERFLOW)?;
        Ok(Self {
            size,
            modified: (stat.st_mtime, nanoseconds),
        })
    }
}

/// One file of the directory.
struct LocalFile {
    file: File,
    state: FileState,
}

impl LocalFile {
    fn check_unchanged(&self) -> io::Result<()> {
        match FileState::of(&rustix::fs::fstat(&self.file)?)? == self.state {
            true => Ok(()),
            false => Err(Errno::STALE.into()),
        }
    }
}

impl Blob for LocalFile {
    fn size(&self) -> u64 {
        self.state.size
    }

    fn identity(&self) -> String {
        let (seconds, nanoseconds) = self.state.modified;
        format!("size={} mtime={seconds}.{nanoseconds:09}", self.state.size)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let read = self.file.read_exact_at(buffer, offset);
        // Afterwards: what was read before a change is what the file was. And a file that became
        // shorter says so better than an unexpected end.
        self.check_unchanged()?;
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(result: io::Result<Box<dyn Blob>>) -> Option<i32> {
        result.err().and_then(|error| error.raw_os_error())
    }

    #[test]
    fn a_file_that_changes_while_it_is_open_is_not_read_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        std::fs::write(&path, b"content").unwrap();
        let backend = LocalDir::new(dir.path()).unwrap();
        let open = || backend.open(b"v", b"blob").unwrap();
        let read = |blob: &dyn Blob| {
            let error = blob.read_exact_at(&mut [0; 4], 0).err();
            error.map(|error| error.raw_os_error())
        };
        let blob = open();
        assert_eq!(read(&*blob), None);
        assert_eq!(open().identity(), blob.identity());
        // Shorter, longer, and as long as it was.
        for content in [&b"con"[..], b"content and more", b"CONTENT"] {
            let before = open();
            let file = File::options()
                .write(true)
                .truncate(true)
                .open(&path)
                .unwrap();
            file.write_all_at(content, 0).unwrap();
            file.set_modified(
                std::time::SystemTime::now() + std::time::Duration::from_secs(content.len() as u64),
            )
            .unwrap();
            assert_eq!(
                read(&*before),
                Some(Some(Errno::STALE.raw_os_error())),
                "{content:?}"
            );
            assert_ne!(open().identity(), before.identity());
        }
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
