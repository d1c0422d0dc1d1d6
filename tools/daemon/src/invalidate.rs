// SPDX-License-Identifier: GPL-2.0
//! Removing what is cached of a blob, so that another one may have its name.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cachefiles_protocol::key_path;
use clap::Args;

use crate::identity::Identities;
use crate::mounts;

/// Options of `invalidate`.
#[derive(Debug, Args)]
pub struct InvalidateArgs {
    /// Directory that holds the cache
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Do it though an image of that name is mounted: it keeps what it has read, until it is
    /// unmounted
    #[arg(long)]
    force: bool,
    /// The blob's cookie key: its fsid or the name of its device
    #[arg(value_name = "KEY")]
    key: String,
}

/// Removes the cache files of that key in every volume, and what is kept of its identity.
pub fn run(args: &InvalidateArgs) -> Result<()> {
    let count = invalidate(&args.dir, &args.key, args.force)?;
    tracing::info!("{}: {count} cache files and records removed", args.key);
    Ok(())
}

/// Does it for a cache directory, and says how many files and records there were. Fails if there
/// were none, or, without `force`, if an image of that name is mounted.
pub fn invalidate(dir: &Path, key: &str, force: bool) -> Result<usize> {
    let table = fs::read_to_string("/proc/mounts").context("reading /proc/mounts")?;
    let users = mounts::of_images(&table, Some(key));
    if !users.is_empty() && !force {
        bail!(
            "{key} is in use: unmount {} first, or give --force",
            users.join(", ")
        );
    }
    match remove(dir, key.as_bytes())? {
        0 => bail!("nothing is cached of {key} in {}", dir.display()),
        count => Ok(count),
    }
}

/// Removes them, and counts. The data goes first: a record without data does no harm.
fn remove(dir: &Path, key: &[u8]) -> Result<usize> {
    let volumes = dir.join("cache");
    let entries = fs::read_dir(&volumes).with_context(|| {
        format!(
            "{} is no cache directory: cannot read {}",
            dir.display(),
            volumes.display()
        )
    })?;
    let identities = Identities::new(dir)?;
    let mut count = 0;
    for entry in entries {
        let name = entry?.file_name();
        let Some(volume) = name.as_bytes().strip_prefix(b"I") else {
            continue;
        };
        let path = dir.join(key_path(volume, key));
        match fs::remove_file(&path) {
            Ok(()) => count += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
        }
        count += usize::from(identities.forget(volume, key)?);
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_and_record_of_one_key_go_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let identities = Identities::new(dir.path()).unwrap();
        for (volume, key) in [
            (&b"erofs,a"[..], &b"blob"[..]),
            (b"erofs,b", b"blob"),
            (b"erofs,b", b"other"),
        ] {
            let path = dir.path().join(key_path(volume, key));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "data").unwrap();
            identities.check(volume, key, "size=1").unwrap();
        }
        assert_eq!(remove(dir.path(), b"blob").unwrap(), 4);
        assert!(!dir.path().join(key_path(b"erofs,a", b"blob")).exists());
        assert!(dir.path().join(key_path(b"erofs,b", b"other")).exists());
        identities.check(b"erofs,a", b"blob", "size=2").unwrap();
        identities
            .check(b"erofs,b", b"other", "size=2")
            .unwrap_err();
        assert_eq!(remove(dir.path(), b"absent").unwrap(), 0);
        assert!(remove(&dir.path().join("no"), b"blob").is_err());
    }
}
