// SPDX-License-Identifier: GPL-2.0
//! Blobs as the files of one directory, named by cookie key.
//!
//! A file is known again by its size, the time of its last change and a sample of its content:
//! times are often set, to those of an archive or to one that is the same for all. Where
//! `NAME.sha256` lies beside it, as sha256sum writes it, that digest is what it is known by. It is
//! believed, not computed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::{Backend, Blob, hexadecimal};

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
        let file = File::from(file);
        let digest = self.digest(cookie_key);
        let mark = match &digest {
            Some(digest) => format!("sha256={digest}"),
            None => format!("sample={}", sample(&file, state.size)?),
        };
        Ok(Box::new(LocalFile {
            file,
            state: Mutex::new(state),
            size: state.size,
            is_sampled: digest.is_none(),
            mark,
        }))
    }
}

impl LocalDir {
    /// The digest that is kept beside a file, if there is one.
    fn digest(&self, name: &[u8]) -> Option<String> {
        let name = [name, b".sha256"].concat();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let name = OsStr::from_bytes(&name);
        let file = rustix::fs::openat(&self.dir, name, flags, Mode::empty()).ok()?;
        let mut digits = [0; 64];
        File::from(file).read_exact_at(&mut digits, 0).ok()?;
        let text = std::str::from_utf8(&digits).ok()?;
        let is_digest = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then(|| text.to_ascii_lowercase())
    }
}

/// How many places of a file are looked at, and how much of each.
const PLACES: u64 = 16;
const PLACE: u64 = 4096;

/// The digest of some places of a file, its beginning and end among them: an EROFS begins with a
/// checksum and an id of its own.
fn sample(file: &File, size: u64) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = [0; PLACE as usize];
    let last = size.saturating_sub(PLACE);
    for place in 0..PLACES {
        let at = u128::from(last) * u128::from(place) / u128::from(PLACES - 1);
        let at = u64::try_from(at).map_err(|_| Errno::OVERFLOW)?;
        let length = usize::try_from(PLACE.min(size)).map_err(|_| Errno::OVERFLOW)?;
        let piece = buffer.get_mut(..length).ok_or(Errno::OVERFLOW)?;
        file.read_exact_at(piece, at)?;
        digest.update(&*piece);
    }
    Ok(hexadecimal(&digest.finalize()))
}

/// What tells one content of a file from another, short of reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState {
    size: u64,
    modified: (i64, i64),
    /// Of the content or of anything else: nobody can set it.
    changed: (i64, i64),
}

impl FileState {
    fn of(stat: &rustix::fs::Stat) -> io::Result<Self> {
        let size = u64::try_from(stat.st_size).map_err(|_| Errno::OVERFLOW)?;
        let nanoseconds = |count| i64::try_from(count).map_err(|_| Errno::OVERFLOW);
        Ok(Self {
            size,
            modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)?),
            changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)?),
        })
    }
}

/// One file of the directory.
struct LocalFile {
    file: File,
    size: u64,
    state: Mutex<FileState>,
    is_sampled: bool,
    /// Its sample, or the digest that was beside it.
    mark: String,
}

impl LocalFile {
    fn check_unchanged(&self) -> io::Result<()> {
        let now = FileState::of(&rustix::fs::fstat(&self.file)?)?;
        let mut known = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now == *known {
            return Ok(());
        }
        if (now.size, now.modified) != (known.size, known.modified) {
            return Err(Errno::STALE.into());
        }
        // Its owner or name was changed; or the content, and the time put back.
        if self.is_sampled && self.mark != format!("sample={}", sample(&self.file, self.size)?) {
            return Err(Errno::STALE.into());
        }
        *known = now;
        Ok(())
    }
}

impl Blob for LocalFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn identity(&self) -> String {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (seconds, nanoseconds) = state.modified;
        let mark = &self.mark;
        format!("size={} mtime={seconds}.{nanoseconds:09} {mark}", self.size)
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

    /// A file with a time that everybody sets, as archives and images of root file systems have it.
    fn put(path: &Path, content: &[u8]) {
        std::fs::write(path, content).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
    }

    #[test]
    fn another_content_of_the_same_size_and_time_is_another_blob() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        let backend = LocalDir::new(dir.path()).unwrap();
        let identity = || backend.open(b"v", b"blob").unwrap().identity();
        put(&path, &[1; 200_000]);
        let first = identity();
        put(&path, &[1; 200_000]);
        assert_eq!(identity(), first);
        put(&path, &[2; 200_000]);
        assert_ne!(identity(), first);
        // One byte at the end, and in files that are shorter than the sample.
        let mut content = vec![1; 200_000];
        content[199_999] = 2;
        put(&path, &content);
        assert_ne!(identity(), first);
        put(&path, b"");
        assert!(identity().starts_with("size=0 mtime=0.000000000 sample="));
        put(&path, b"ab");
        let short = identity();
        put(&path, b"ac");
        assert_ne!(identity(), short);
    }

    #[test]
    fn what_is_rewritten_while_it_is_open_is_noticed_though_its_time_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        let backend = LocalDir::new(dir.path()).unwrap();
        put(&path, &[1; 8192]);
        let blob = backend.open(b"v", b"blob").unwrap();
        let read = || blob.read_exact_at(&mut [0; 4], 0).is_ok();
        // Neither a new name nor a new mode is a new content.
        std::fs::hard_link(&path, dir.path().join("link")).unwrap();
        assert!(read() && read());
        put(&path, &[2; 8192]);
        assert!(!read());
    }

    #[test]
    fn a_digest_beside_the_file_is_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        let backend = LocalDir::new(dir.path()).unwrap();
        let identity = || backend.open(b"v", b"blob").unwrap().identity();
        put(&path, b"content");
        let digest = format!("{:064X}", 0xabc);
        for (line, is_digest) in [
            (format!("{digest}  blob\n"), true),
            (digest.clone(), true),
            (format!("{}  blob", &digest[1..]), false),
            ("no digest".into(), false),
        ] {
            std::fs::write(dir.path().join("blob.sha256"), &line).unwrap();
            let wanted = format!("sha256={}", digest.to_lowercase());
            assert_eq!(identity().ends_with(&wanted), is_digest, "{line}");
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
