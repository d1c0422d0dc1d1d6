// SPDX-License-Identifier: GPL-2.0
//! Reading a mounted image once, so that what it needs is in the cache.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{Advice, fadvise};

use crate::images::{self, Image};
use crate::size;

/// How much is read at once, in bytes.
const PIECE: usize = 1 << 20;

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    files: u64,
    bytes: u64,
    /// Files that could not be read, and why.
    failed: Vec<String>,
}

/// Reads all files of an image, which is given by its name or by where it is mounted. Fails if one
/// could not be read.
pub fn run(image: &str) -> Result<ExitCode> {
    let root = find(&images::mounted(Path::new("/proc"))?, image)?;
    let done = read_all(&root)?;
    for failed in &done.failed {
        eprintln!("{failed}");
    }
    println!(
        "{}: {} files, {} read",
        root.display(),
        done.files,
        size::text(done.bytes)
    );
    Ok(match done.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Where the image is mounted.
fn find(images: &[Image], wanted: &str) -> Result<PathBuf> {
    let is_it = |image: &&Image| image.fsid == wanted || image.target == Path::new(wanted);
    match images.iter().find(is_it) {
        Some(image) => Ok(image.target.clone()),
        None => bail!("{wanted} is not mounted: `cachefilesctl mount` it first"),
    }
}

/// Reads all files of one file system below a directory, and has the page cache forget them: they
/// are to be on the disk, and not in memory.
fn read_all(root: &Path) -> Result<Done> {
    let looking = || format!("looking at {}", root.display());
    let device = fs::symlink_metadata(root).with_context(looking)?.dev();
    let (mut done, mut left) = (Done::default(), vec![root.to_owned()]);
    let mut buffer = vec![0; PIECE];
    while let Some(path) = left.pop() {
        match visit(&path, device, &mut left, &mut buffer) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                done.files += 1;
                done.bytes += bytes;
            }
            Err(error) => done.failed.push(format!("{}: {error}", path.display())),
        }
    }
    Ok(done)
}

/// Reads a file, and gives its length; or notes what is in a directory.
fn visit(
    path: &Path,
    device: u64,
    left: &mut Vec<PathBuf>,
    buffer: &mut [u8],
) -> io::Result<Option<u64>> {
    let about = fs::symlink_metadata(path)?;
    if about.dev() != device {
        return Ok(None);
    }
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            left.push(entry?.path());
        }
        return Ok(None);
    }
    if !about.is_file() {
        return Ok(None);
    }
    let file = File::open(path)?;
    let mut bytes = 0;
    loop {
        let length = io::Read::read(&mut &file, buffer)?;
        if length == 0 {
            break;
        }
        bytes += length as u64;
    }
    // Without it the pages stay, and others have to go.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_file_is_read_once_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/large"), vec![1; PIECE + 5]).unwrap();
        fs::write(dir.path().join("empty"), "").unwrap();
        symlink("/etc/passwd", dir.path().join("link")).unwrap();
        symlink("..", dir.path().join("a/loop")).unwrap();
        let wanted = Done {
            files: 2,
            bytes: PIECE as u64 + 5,
            failed: Vec::new(),
        };
        assert_eq!(read_all(dir.path()).unwrap(), wanted);
        assert!(read_all(&dir.path().join("absent")).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_is_read() {
        let mut left = Vec::new();
        let absent = visit(Path::new("/absent"), 0, &mut left, &mut [0; 16]);
        assert!(absent.is_err() && left.is_empty());
    }

    #[test]
    fn an_image_is_found_by_its_name_and_by_its_place() {
        let images = [Image {
            target: "/mnt/app".into(),
            fsid: "app".into(),
            domain: None,
        }];
        for wanted in ["app", "/mnt/app"] {
            assert_eq!(find(&images, wanted).unwrap(), Path::new("/mnt/app"));
        }
        let error = find(&images, "other").unwrap_err().to_string();
        assert!(error.contains("not mounted"), "{error}");
    }
}
