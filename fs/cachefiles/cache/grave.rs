// SPDX-License-Identifier: GPL-2.0

//! Getting rid of what is in the cache: files are unlinked, directories go to the graveyard,
//! where the daemon removes them.

use crate::cache::object::Object;
use crate::cache::Cache;
use cachefiles_trace::{self as trace, ErrorSite, Killed};
use core::sync::atomic::Ordering;
use kernel::prelude::*;
use kernel::str::CString;
use kernel_ext::errno::ESTALE;
use kernel_ext::fs::{Dentry, LockedDir, RenameLock, WantWrite};
use kernel_ext::params::{injected_read_error, injected_remove_error};

/// Removes `victim` from the locked directory `dir`; `object` is the one it belonged to.
///
/// Runs with the cache's credentials. Errors: ESTALE no longer in `dir`; ENOMEM; EIO it can't be
/// moved, as something is mounted on it, or there is no graveyard, of which the cache dies; what
/// the file system says.
pub(crate) fn bury(
    cache: &Cache,
    write: &WantWrite<'_>,
    object: Option<&Object>,
    dir: LockedDir<'_>,
    victim: &Dentry,
    why: Killed,
) -> Result {
    let _span = kernel_ext::log::span!("bury", "{why:?}");
    if !victim.is_child_of(dir.dentry()) || victim.is_unhashed() {
        return Err(ESTALE);
    }
    if !victim.is_dir() {
        return unlink(cache, write, object, &dir, victim, why);
    }
    // Two directories can only be locked together from the start.
    let dir_dentry = dir.dentry();
    drop(dir);
    move_to_graveyard(cache, write, object, dir_dentry, victim, why)
}

/// Unlinks a file. Runs with the cache's credentials. Errors: what the file system says.
pub(crate) fn unlink(
    cache: &Cache,
    write: &WantWrite<'_>,
    object: Option<&Object>,
    dir: &LockedDir<'_>,
    victim: &Dentry,
    why: Killed,
) -> Result {
    let object_id = object.map(Object::debug_id);
    let Some(inode) = victim.inode() else {
        return Err(ENOENT);
    };
    trace::unlink(object_id, inode.ino(), why);
    dir.may_unlink(write, victim).inspect_err(|&error| {
        cache.file_error(error, format_args!("Unlinking is denied"));
    })?;
    injected_remove_error()
        .and_then(|()| {
            dir.unlink(write, victim).inspect_err(|&error| {
                if error == EIO {
                    cache.file_error(error, format_args!("Unlink failed"));
                }
            })
        })
        .inspect_err(|&error| {
            if let Some(dir) = dir.dentry().inode() {
                trace::vfs_error(object_id, dir, error, ErrorSite::Unlink);
            }
        })
}

fn move_to_graveyard(
    cache: &Cache,
    write: &WantWrite<'_>,
    object: Option<&Object>,
    dir: &Dentry,
    victim: &Dentry,
    why: Killed,
) -> Result {
    // Nothing can be put away any more.
    let no_graveyard = |what: &str| -> Result {
        cache.io_error(format_args!("{what}"));
        Err(EIO)
    };
    // Only this can't be, whatever root did to it.
    let stuck = |what: &str| -> Result {
        cache.file_error(EIO, format_args!("{what}"));
        Err(EIO)
    };
    let object_id = object.map(Object::debug_id);
    let inode = victim.inode().ok_or(ENOENT)?;
    loop {
        let name = grave_name(cache)?;
        let lock = RenameLock::new(&cache.graveyard, dir)?;
        if !victim.is_child_of(dir) || lock.is_dead(victim) {
            // Somebody culled it while it was not locked.
            return Ok(());
        }
        if !cache.graveyard.can_lookup() {
            return no_graveyard("The graveyard is no directory any more");
        }
        if lock.ancestor_is(victim) {
            return no_graveyard("The graveyard is inside the directory to be buried");
        }
        if victim.is_mountpoint() {
            return stuck("Something is mounted inside the cache");
        }
        let grave = match lock.lookup_in_first(name.as_bytes()) {
            Ok(grave) => grave,
            Err(error) => {
                if let Some(graveyard) = cache.graveyard.inode() {
                    trace::vfs_error(object_id, graveyard, error, ErrorSite::Lookup);
                }
                if error == ENOMEM {
                    return Err(ENOMEM);
                }
                return stuck("Lookup in the graveyard failed");
            }
        };
        if !grave.is_negative() {
            drop(lock);
            kernel_ext::task::cond_resched();
            continue;
        }
        if grave.is_mountpoint() {
            return stuck("Something is mounted inside the graveyard");
        }
        if lock.ancestor_is(&grave) {
            return stuck("The directory to be buried is inside its grave");
        }
        if let Err(error) = lock.may_rename(write, victim, &grave) {
            cache.file_error(error, format_args!("Renaming is denied"));
        } else {
            trace::rename(object_id, inode.ino(), why);
            let renamed = injected_read_error().and_then(|()| lock.rename(write, victim, &grave));
            if let Err(error) = renamed {
                if let Some(dir) = dir.inode() {
                    trace::vfs_error(object_id, dir, error, ErrorSite::Rename);
                }
                if error != ENOMEM {
                    cache.file_error(error, format_args!("Rename failed"));
                }
            }
        }
        // The daemon empties the graveyard as soon as that is unlocked, and must not find the mark.
        lock.clear_kernel_file(victim);
        trace::mark_inactive(object_id, inode);
        return Ok(());
    }
}

/// Seconds and a counter, so that no two graves are called the same.
fn grave_name(cache: &Cache) -> Result<CString> {
    let number = cache
        .grave_counter
        .fetch_add(1, Ordering::Relaxed)
        .wrapping_add(1);
    CString::try_from_fmt(kernel::fmt!(
        "{:08x}{:08x}",
        kernel_ext::task::real_seconds() as u32,
        number
    ))
}
