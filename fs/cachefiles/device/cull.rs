// SPDX-License-Identifier: GPL-2.0

//! `cull` and `inuse`: the daemon makes room, file by file, in its working directory, which has to
//! be inside the cache.
//!
//! Several threads may be at it at a time: what they look at and change is under the lock of its
//! directory.

use crate::backing::in_use::InUse;
use crate::cache::grave;
use crate::cache::Cache;
use cachefiles_trace::Killed;
use kernel::prelude::*;
use kernel::types::ARef;
use kernel_ext::errno::ESTALE;
use kernel_ext::fs::{Dentry, LockedDir, Path};

/// Removes the file `name`, or moves the directory of that name to the graveyard. Waits, and not
/// killably, while the cache's file system is frozen.
///
/// Errors: ENOTDIR the working directory can't be searched; EXDEV it is not in the cache; EROFS;
/// EBUSY in use; ENOENT or ESTALE gone; ENOMEM; EIO for the rest.
pub(crate) fn cull(cache: &Cache, name: &[u8]) -> Result {
    let path = working_directory(cache, "cull")?;
    cache.secure(|| cull_from(cache, &path, name))
}

fn cull_from(cache: &Cache, path: &Path, name: &[u8]) -> Result {
    let write = cache.backing.want_write()?;
    let dir = path.dentry().lock_as_parent()?;
    let victim = look_up_unused(cache, &dir, name)?;
    // From here on the cache can't pick it up again, unless it is still there in the end.
    let marked = InUse::mark_for_removal(victim).ok_or(EBUSY)?;
    grave::bury(cache, &write, None, dir, &marked, Killed::Culled).map_err(|error| {
        if error == ENOENT {
            return ESTALE;
        }
        if error == ENOMEM {
            return ENOMEM;
        }
        kernel_ext::log::error!("Culling failed: error {}", error.to_errno());
        EIO
    })?;
    marked.removed();
    fscache::stats::count_culled();
    Ok(())
}

/// Checks that the file `name` is not in use. Error: EBUSY it is. Other errors as for [`cull`].
pub(crate) fn check_in_use(cache: &Cache, name: &[u8]) -> Result {
    let path = working_directory(cache, "inuse")?;
    cache.secure(|| {
        let dir = path.dentry().lock_as_parent()?;
        look_up_unused(cache, &dir, name)?;
        Ok(())
    })
}

fn working_directory(cache: &Cache, command: &str) -> Result<Path> {
    let path = Path::of_cwd()?;
    if !path.dentry().can_lookup() {
        kernel_ext::log::error!("The {} command needs a directory to work in", command);
        return Err(ENOTDIR);
    }
    // The daemon may be root, but what it removes through us is what we made.
    if !path.dentry().is_within(&cache.store) {
        kernel_ext::log::error!(
            "The {} command works in the cache's directories only",
            command
        );
        return Err(EXDEV);
    }
    Ok(path)
}

fn look_up_unused(cache: &Cache, dir: &LockedDir<'_>, name: &[u8]) -> Result<ARef<Dentry>> {
    let victim = dir.lookup(name).map_err(|error| match error {
        // The object was probably retired in the meantime.
        ENOENT => ESTALE,
        ENOMEM => ENOMEM,
        EIO => {
            cache.file_error(EIO, format_args!("Lookup failed"));
            EIO
        }
        error => {
            kernel_ext::log::error!("Lookup for culling failed: error {}", error.to_errno());
            EIO
        }
    })?;
    match victim.inode() {
        None => Err(ENOENT),
        Some(inode) if inode.is_kernel_file() => Err(EBUSY),
        Some(_) => Ok(victim),
    }
}
