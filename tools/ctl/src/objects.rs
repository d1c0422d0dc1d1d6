// SPDX-License-Identifier: GPL-2.0
//! The files of a cache, and how much of its blob each holds.
//!
//! `DIR/cache/I<volume>/@<xx>/<name>`, in which the name is `D<key>` where the key can be printed.
//! Files are looked at and not read: what is read of them comes into the page cache, and sets the
//! time by which the daemon tells what was used last.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::{Mode, OFlags, SeekFrom, fgetxattr, open, seek};
use rustix::io::Errno;

/// The attribute in which the kernel notes what a file is of.
const ATTRIBUTE: &str = "user.CacheFiles.cache";

/// A file of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The directory it is in.
    pub folder: PathBuf,
    /// Its name there.
    pub name: OsString,
    /// The key of its volume: for EROFS `erofs,` and the domain or the fsid.
    pub volume: String,
    /// The key, or the name of the file where the key is encoded in that.
    pub key: String,
    /// The size of the blob in bytes, up to a whole page.
    pub size: u64,
    /// How many of these are in the cache.
    pub present: u64,
}

impl Object {
    /// Whether all of the blob is in the cache.
    pub fn is_complete(&self) -> bool {
        self.present >= self.size
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

/// The files of the cache in this directory, by volume and key.
pub fn find(dir: &Path) -> Result<Vec<Object>> {
    // In full: whoever asks the kernel for a file changes the working directory.
    let dir = fs::canonicalize(dir).with_context(|| format!("there is no {}", dir.display()))?;
    let store = dir.join("cache");
    let volumes = fs::read_dir(&store).with_context(|| {
        let dir = dir.display();
        format!(
            "{dir} is no cache directory: cannot read {}",
            store.display()
        )
    })?;
    let mut objects = Vec::new();
    for volume in volumes {
        let volume = volume?;
        let name = volume.file_name();
        let Some(key) = name.as_bytes().strip_prefix(b"I") else {
            continue;
        };
        let key = String::from_utf8_lossy(key).into_owned();
        for folder in entries(&volume.path())? {
            let is_fanout = folder
                .file_name()
                .is_some_and(|it| it.as_bytes().starts_with(b"@"));
            if is_fanout {
                collect(&folder, &key, &mut objects)?;
            }
        }
    }
    objects.sort_by(|one, other| (&one.volume, &one.key).cmp(&(&other.volume, &other.key)));
    Ok(objects)
}

/// What is in a directory; nothing, if that is gone by now.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = match fs::read_dir(dir) {
        Ok(read) => read,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", dir.display())),
    };
    let paths: io::Result<Vec<PathBuf>> = read.map(|entry| Ok(entry?.path())).collect();
    paths.with_context(|| format!("reading {}", dir.display()))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn collect(folder: &Path, volume: &str, objects: &mut Vec<Object>) -> Result<()> {
    for path in entries(folder)? {
        let Some(name) = path.file_name() else {
            continue;
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        // It may have been culled since.
        let file = match open(&path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP) => continue,
            Err(errno) => {
                return Err(errno).with_context(|| format!("opening {}", path.display()));
            }
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            continue;
        }
        let size = match size_in_attribute(&file) {
            // Only noted when the file is put away for the first time.
            None | Some(0) => metadata.len(),
            Some(size) => size,
        };
        objects.push(Object {
            folder: folder.to_owned(),
            name: name.to_owned(),
            volume: volume.to_owned(),
            key: key_of(name.as_bytes()),
            size,
            present: present(&file, size)
                .with_context(|| format!("looking at {}", path.display()))?,
        });
    }
    Ok(())
}

/// The key in a file's name, where it stands there as it is.
fn key_of(name: &[u8]) -> String {
    let shown = name.strip_prefix(b"D").unwrap_or(name);
    OsString::from_vec(shown.to_vec())
        .to_string_lossy()
        .into_owned()
}

/// The size of the object, in the first eight bytes of the attribute.
fn size_in_attribute(file: &File) -> Option<u64> {
    let mut bytes = [0; 18 + 255];
    let length = fgetxattr(file, ATTRIBUTE, &mut bytes).ok()?;
    let size = bytes.get(..length)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*size))
}

/// How many of the first `size` bytes are no hole.
fn present(file: &File, size: u64) -> Result<u64, Errno> {
    let mut present = 0;
    let mut at = 0;
    while at < size {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno),
        };
        // One that was punched in between: then the same place is asked for again.
        let hole = match seek(file, SeekFrom::Hole(data)) {
            Ok(hole) => hole.clamp(data, size),
            Err(Errno::NXIO) => size.min(data),
            Err(errno) => return Err(errno),
        };
        present += hole - data;
        at = hole.max(at + 1);
    }
    Ok(present)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use cachefiles_protocol::key_path;
    use rustix::fs::{XattrFlags, fsetxattr};

    use super::*;

    /// A file of 64 pages with data in some of them.
    fn put(dir: &Path, volume: &[u8], key: &[u8], pages: &[u64]) -> File {
        let path = dir.join(key_path(volume, key));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(path).unwrap();
        file.set_len(64 * 4096).unwrap();
        for page in pages {
            file.write_all_at(&[1; 4096], page * 4096).unwrap();
        }
        file
    }

    #[test]
    fn what_a_file_holds_is_counted_by_the_size_of_its_blob() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), b"erofs,b", b"app", &[0, 1, 9]);
        let file = put(dir.path(), b"erofs,a", b"x y", &[0, 1]);
        let attribute = [&8192u64.to_be_bytes()[..], &[0; 8], &[1, 0]].concat();
        let has_attributes = fsetxattr(&file, ATTRIBUTE, &attribute, XattrFlags::empty()).is_ok();
        fs::create_dir_all(dir.path().join("cache/Ierofs,b/other")).unwrap();
        fs::write(dir.path().join("cache/Ierofs,b/@00"), "no folder").unwrap();
        fs::create_dir_all(dir.path().join("cache/Xother/@01")).unwrap();
        let found = find(dir.path()).unwrap();
        let [first, second] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((&*first.volume, &*second.volume), ("erofs,a", "erofs,b"));
        assert_eq!((&*second.key, second.size), ("app", 64 * 4096));
        assert_eq!((second.present, second.is_complete()), (3 * 4096, false));
        assert!(!first.key.starts_with('D'));
        assert_eq!(second.path(), dir.path().join(key_path(b"erofs,b", b"app")));
        // Where the tests' directory has no extended attributes, there is less to be seen.
        if has_attributes {
            assert_eq!((first.size, first.present), (8192, 8192));
            assert!(first.is_complete());
        }
    }

    #[test]
    fn what_is_no_cache_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = find(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is no cache directory"), "{error}");
        fs::create_dir(dir.path().join("cache")).unwrap();
        assert_eq!(find(dir.path()).unwrap(), []);
    }
}
