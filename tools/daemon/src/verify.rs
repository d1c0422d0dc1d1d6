// SPDX-License-Identifier: GPL-2.0
//! Comparing what is cached of a blob with its index, and removing what is wrong.
//!
//! A file that the kernel uses must not be changed under it: readers would see a chunk vanish that
//! they have begun to read. So it is renamed first. If the kernel does not use it *then*, it cannot
//! come to, as it looks for another name; whoever mounts the blob meanwhile gets a new file.
//!
//! It is read past the page cache, of which the kernel's own look at the file would see what is
//! left there.

mod chunk;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use cachefiles_protocol::{Device, Errno, key_path};
use clap::Args;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use self::chunk::{Counts, verify_chunks};
use crate::backend::chunks::Index;
use crate::borrow;
use crate::source::SourceArgs;

/// Options of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// File with options like these, in TOML: those that are given take the place of its own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory that holds the cache
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    /// The blob: its fsid or the name of its device
    #[arg(value_name = "KEY")]
    key: String,
}

/// In front of the name of a file that is out of sight.
const ASIDE: &[u8] = b"verify.";

/// Says whether a file, of a volume, is in use.
type InUse<'a> = &'a dyn Fn(&[u8], &Path, &OsStr) -> Result<bool>;

/// Verifies the cache files of a key in all volumes. Fails if something was wrong.
pub fn run(args: &VerifyArgs) -> Result<()> {
    let key = &args.key;
    let dir = args.dir.as_deref();
    let dir = dir.context("no cache directory: give --dir DIR, or a --config FILE that has it")?;
    let dir = fs::canonicalize(dir).with_context(|| format!("there is no {}", dir.display()))?;
    let index = args
        .source
        .index_of(key)
        .with_context(|| format!("the index of {key}"))?;
    let users = Users::find()?;
    let counts = verify(&dir, key, &index, &|volume, folder, name| {
        users.have(volume, folder, name)
    })?;
    match counts.wrong {
        0 => {
            tracing::info!("{key}: {counts}");
            Ok(())
        }
        _ => bail!("{key}: {counts}; they are fetched again when they are read"),
    }
}

fn verify(dir: &Path, key: &str, index: &Index, in_use: InUse<'_>) -> Result<Counts> {
    let lock = File::open(dir).with_context(|| format!("opening {}", dir.display()))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .context("another `verify` is at work in this cache")?;
    let store = dir.join("cache");
    let volumes =
        fs::read_dir(&store).with_context(|| format!("{} is no cache directory", dir.display()))?;
    let mut all = Counts::default();
    let mut files = 0;
    for volume in volumes {
        let name = volume?.file_name();
        let Some(volume) = name.as_bytes().strip_prefix(b"I") else {
            continue;
        };
        let path = dir.join(key_path(volume, key.as_bytes()));
        if put_back(&path)? {
            files += 1;
            all += verify_file(volume, &path, index, in_use)?;
        }
    }
    ensure!(files > 0, "nothing is cached of {key} in {}", dir.display());
    Ok(all)
}

/// Undoes what one that was killed has left. False if there is no file of that name.
fn put_back(path: &Path) -> Result<bool> {
    match rename(&aside(path), path) {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => {}
        // Somebody has made another one: that counts.
        Err(Errno::EXIST) => fs::remove_file(aside(path))?,
        Err(errno) => return Err(errno).context(format!("renaming {}", path.display())),
    }
    Ok(path.exists())
}

fn verify_file(volume: &[u8], path: &Path, index: &Index, in_use: InUse<'_>) -> Result<Counts> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let is_used = |path: &Path| in_use(volume, folder, path.file_name().unwrap_or_default());
    let busy = || format!("{} is in use: unmount its images first", path.display());
    ensure!(!is_used(path)?, busy());
    let aside = aside(path);
    rename(path, &aside).with_context(|| format!("renaming {}", path.display()))?;
    // It may have been taken into use since.
    let verified = match is_used(&aside) {
        Ok(false) => {
            verify_chunks(&aside, index).with_context(|| format!("verifying {}", path.display()))
        }
        Ok(true) => Err(anyhow::Error::msg(busy())),
        Err(error) => Err(error),
    };
    match rename(&aside, path) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            tracing::info!("{} was made anew meanwhile", path.display());
            fs::remove_file(&aside)?;
        }
        // Culled: then it is not wrong any more either.
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno).context(format!("renaming {}", aside.display())),
    }
    verified
}

/// What the file is called while it is out of sight, in the same folder.
fn aside(path: &Path) -> PathBuf {
    let mut name = OsString::from(OsStr::from_bytes(ASIDE));
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

fn rename(from: &Path, to: &Path) -> Result<(), Errno> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
}

/// fscache's table of volumes.
const VOLUMES: &str = "/proc/fs/fscache/volumes";

/// Who knows what is in use.
enum Users {
    /// The kernel, by the device of a daemon.
    Kernel(Device),
    /// That table: no daemon runs, but images may be mounted still.
    Table(PathBuf),
}

impl Users {
    fn find() -> Result<Self> {
        let holders = borrow::holders();
        if holders.found.is_empty() && !holders.hidden {
            return Ok(Self::Table(VOLUMES.into()));
        }
        borrow::device().map(Self::Kernel)
    }

    fn have(&self, volume: &[u8], folder: &Path, name: &OsStr) -> Result<bool> {
        match self {
            Self::Kernel(device) => {
                // The kernel looks for it in the working directory.
                rustix::process::chdir(folder)?;
                match device.is_in_use(name) {
                    // The daemon's cache is another one.
                    Err(Errno::XDEV) => lists(Path::new(VOLUMES), volume),
                    asked => asked.context("asking the kernel whether it is in use"),
                }
            }
            Self::Table(path) => lists(path, volume),
        }
    }
}

/// Whether a volume is in the table now.
fn lists(table: &Path, volume: &[u8]) -> Result<bool> {
    match fs::read_to_string(table) {
        Ok(table) => Ok(has_volume(&table, volume)),
        // Without fscache nothing is mounted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context("looking which volumes are in use"),
    }
}

/// Whether a volume is in fscache's table, of whatever cache: its name is the last column.
fn has_volume(table: &str, volume: &[u8]) -> bool {
    let volume = format!(" {}", String::from_utf8_lossy(volume));
    table.lines().any(|line| line.ends_with(&volume))
}

#[cfg(test)]
mod tests;
