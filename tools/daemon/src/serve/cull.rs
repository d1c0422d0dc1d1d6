// SPDX-License-Identifier: GPL-2.0
//! Making room in the cache: what nobody uses is removed, what was used last goes last.
//!
//! Which files are in use only the kernel knows: it refuses to cull those. It looks a file up in
//! the working directory of whoever asks, so that is done by a thread that has one of its own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use cachefiles_protocol::{Device, Errno};
use rustix::thread::UnshareFlags;

use crate::stats::Stats;

/// How long nothing is tried after all that is left is in use.
const PAUSE: Duration = Duration::from_secs(10);

/// How full the disk may be: culling goes on until so much is free, in percent.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Of the blocks.
    pub blocks: u8,
    /// Of the files.
    pub files: u8,
}

/// Removes what nobody uses.
#[derive(Debug)]
pub struct Culler {
    dir: PathBuf,
    run: Run,
    /// Until when nothing is tried. Held by the one who culls: others wait, and find room.
    pause: Mutex<Option<Instant>>,
}

impl Culler {
    /// Culls in the cache of this directory.
    pub fn new(dir: &Path, run: Run) -> Result<Self> {
        let dir = fs::canonicalize(dir)
            .with_context(|| format!("cannot find the cache directory {}", dir.display()))?;
        Ok(Self {
            dir,
            run,
            pause: Mutex::default(),
        })
    }

    /// Culls if the kernel says that the disk is fuller than `--bcull` or `--fcull` allow.
    pub fn cull_if_wanted(&self, device: &Device, stats: &Arc<Stats>) {
        if device.wants_culling() == Ok(true) {
            self.cull(device, stats);
        }
    }

    /// Culls until so much is free as `--brun` and `--frun` say, or nothing idle is left. Returns
    /// without doing anything if that was the end of it a moment ago.
    pub fn cull(&self, device: &Device, stats: &Arc<Stats>) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if pause.is_some_and(|until| now < until) || self.has_room() {
            return;
        }
        let culled = std::thread::scope(|scope| scope.spawn(|| self.cull_apart(device)).join());
        let culled = culled.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")));
        let room = if self.has_room() {
            "enough"
        } else {
            "not enough, all else is in use"
        };
        match culled {
            Ok(0) => tracing::warn!("the cache's disk is full, and all of the cache is in use"),
            Ok(count) => {
                stats.culled.fetch_add(count, Relaxed);
                tracing::info!("{count} files that nobody used were culled: {room}");
            }
            Err(error) => tracing::error!("cannot cull: {error}"),
        }
        *pause = (!self.has_room()).then_some(now + PAUSE);
    }

    fn has_room(&self) -> bool {
        rustix::fs::statvfs(&self.dir).is_ok_and(|disk| {
            let is_free = |free: u64, all: u64, percent: u8| {
                u128::from(free) * 100 >= u128::from(all) * u128::from(percent)
            };
            is_free(disk.f_bavail, disk.f_blocks, self.run.blocks)
                && is_free(disk.f_ffree, disk.f_files, self.run.files)
        })
    }

    /// To be called on a thread of its own, whose working directory it changes.
    fn cull_apart(&self, device: &Device) -> io::Result<u64> {
        // SAFETY: what is not shared afterwards are this thread's working directory, root and
        // umask. No memory and no fd is touched.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }?;
        cull_idle(
            &self.dir,
            |file| {
                rustix::process::chdir(&file.folder)?;
                device.cull(&file.name)
            },
            || self.has_room(),
        )
    }
}

/// A file of the cache.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CacheFile {
    used: SystemTime,
    folder: PathBuf,
    name: OsString,
}

/// Culls one file after the other until there is `enough`, and says how many.
fn cull_idle(
    dir: &Path,
    mut cull: impl FnMut(&CacheFile) -> Result<(), Errno>,
    mut enough: impl FnMut() -> bool,
) -> io::Result<u64> {
    let mut files = Vec::new();
    for volume in folders(&dir.join("cache"), "I")? {
        for fanout in folders(&volume, "@")? {
            collect(&fanout, &mut files)?;
        }
    }
    files.sort();
    let mut count = 0;
    for file in &files {
        if enough() {
            break;
        }
        match cull(file) {
            Ok(()) => count += 1,
            Err(Errno::BUSY | Errno::NOENT | Errno::STALE) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(count)
}

/// The folders in `dir` whose names begin so.
fn folders(dir: &Path, beginning: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_one = |name: &OsStr| name.as_encoded_bytes().starts_with(beginning.as_bytes());
        if is_one(&entry.file_name()) && entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Adds the files of a folder.
fn collect(folder: &Path, files: &mut Vec<CacheFile>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // It may be gone by now.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_file() {
            files.push(CacheFile {
                used: metadata.accessed()?.max(metadata.modified()?),
                folder: folder.to_owned(),
                name: entry.file_name(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::{File, FileTimes};

    use super::*;

    /// A cache with files that were used so many seconds after each other.
    fn cache(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (seconds, name) in (1_000_000..).zip(names) {
            let path = dir.path().join("cache").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let then = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let times = FileTimes::new().set_accessed(then).set_modified(then);
            File::create(path).unwrap().set_times(times).unwrap();
        }
        dir
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_until_there_is_room() {
        let dir = cache(&["Ib/@1/first", "Ia/@2/second", "Ib/@1/third", "Ia/@2/fourth"]);
        let left = Cell::new(3);
        let mut asked = Vec::new();
        let cull = |file: &CacheFile| {
            asked.push(file.name.clone());
            left.set(left.get() - 1);
            match file.name.to_str() {
                Some("second") => Err(Errno::BUSY),
                _ => Ok(()),
            }
        };
        assert_eq!(cull_idle(dir.path(), cull, || left.get() == 0).unwrap(), 2);
        assert_eq!(asked, ["first", "second", "third"]);
    }

    #[test]
    fn only_files_of_the_cache_are_asked_for() {
        let dir = cache(&["Ia/@1/data", "Ia/other/x", "Xa/@1/x", "Ia/x", "Ia/@1/sub/x"]);
        fs::write(dir.path().join("beside"), "x").unwrap();
        let mut asked = Vec::new();
        let cull = |file: &CacheFile| {
            asked.push(file.folder.join(&file.name));
            Err(Errno::STALE)
        };
        assert_eq!(cull_idle(dir.path(), cull, || false).unwrap(), 0);
        assert_eq!(asked, [dir.path().join("cache/Ia/@1/data")]);
    }

    #[test]
    fn a_kernel_that_culls_nothing_ends_it() {
        let dir = cache(&["Ia/@1/a", "Ia/@1/b"]);
        let mut asked = 0;
        let cull = |_: &CacheFile| {
            asked += 1;
            Err(Errno::IO)
        };
        assert!(cull_idle(dir.path(), cull, || false).is_err());
        assert_eq!(asked, 1);
        assert!(cull_idle(&dir.path().join("no"), |_| Ok(()), || false).is_err());
    }
}
