// SPDX-License-Identifier: GPL-2.0

//! The end of an object: its file gets its name, or goes.
//!
//! All of it runs with the cache's credentials.

use super::Object;
use crate::cache::coherency;
use crate::cache::grave;
use cachefiles_trace::{self as trace, ErrorSite, Killed, RefWhy};
use fscache::CookieFlag;
use kernel::prelude::*;
use kernel::types::ARef;
use kernel_ext::fs::{Dentry, File, LockedDir};
use kernel_ext::params::injected_read_error;

/// Takes the file from its object: commits it, or removes it if netfs retired the object, or it is
/// stale.
pub(crate) fn clean_up(object: &Object) {
    let Some(file) = object.data().held_file() else {
        return;
    };
    let retired = object.cookie().test_flag(CookieFlag::Retired);
    match (retired || object.data().is_stale(), object.is_tmpfile()) {
        (true, false) => {
            object.trace_ref(RefWhy::SeeCleanDelete);
            let why = if retired {
                Killed::Retired
            } else {
                Killed::Stale
            };
            // A failure is logged there.
            if delete(object, &file, why).is_err() {
                coherency::remove_object(object, &file);
            }
        }
        (true, true) => object.trace_ref(RefWhy::SeeCleanDropTmp),
        (false, _) => {
            object.trace_ref(RefWhy::SeeCleanCommit);
            commit(object, &file);
        }
    }
    let last = object.data().replace_file(None);
    drop(last);
    if !object.is_tmpfile() {
        object.cache().backing.space.released(file.inode());
    }
}

/// Removes the name of the object's file, if it still is the name of that file.
///
/// The file's own dentry does not tell: it is nameless when we made the file ourselves, and stays
/// what it was when root takes the name away.
pub(super) fn delete(object: &Object, file: &File, why: Killed) -> Result {
    let cache = object.cache();
    let fan = object.volume().fan_dir(object.cookie().key_hash())?;
    let name = object.name()?;
    let write = cache.backing.want_write()?;
    let locked = fan.lock_as_parent()?;
    let dentry = look_up_locked(object, &locked, &name)?;
    if !dentry
        .inode()
        .is_some_and(|inode| core::ptr::eq(inode, file.inode()))
    {
        // What is there in its place is not ours to remove, and netfs will see whether it is
        // current.
        return Ok(());
    }
    grave::unlink(cache, &write, Some(object), &locked, &dentry, why)
}

/// Looks up the name of an object's file. The answer may be negative.
fn look_up_locked(object: &Object, fan: &LockedDir<'_>, name: &[u8]) -> Result<ARef<Dentry>> {
    injected_read_error()
        .and_then(|()| fan.lookup(name))
        .inspect_err(|&error| {
            if let Some(inode) = fan.dentry().inode() {
                trace::vfs_error(Some(object.debug_id()), inode, error, ErrorSite::Lookup);
            }
        })
}

/// Notes on the disk what the file holds, and gives it its name. Where that fails the file is made
/// one that is not taken for current.
pub(super) fn commit(object: &Object, file: &ARef<File>) {
    kernel_ext::log::debug!("OBJ{:x}: commit", object.debug_id());
    let cookie = object.cookie();
    let written = cookie.test_and_clear_flag(CookieFlag::LocalWrite);
    let changed = cookie.test_and_clear_flag(CookieFlag::NeedsUpdate);
    if (written || changed) && coherency::set_object(object).is_err() {
        // Another time, if there is one: until then what is there must not be taken for it.
        cookie.set_flag(CookieFlag::NeedsUpdate);
        if !object.is_tmpfile() {
            coherency::remove_object(object, file);
        }
        return;
    }
    if object.is_tmpfile() && link(object, file).is_ok() {
        object.set_tmpfile(false);
    }
}

/// Gives a file without a name its name, in place of what may be there.
fn link(object: &Object, file: &File) -> Result {
    let id = Some(object.debug_id());
    let cache = object.cache();
    let fan = object.volume().fan_dir(object.cookie().key_hash())?;
    let fan_inode = fan.inode().ok_or(ENOENT)?;
    let name = object.name()?;
    let write = cache.backing.want_write()?;
    let locked = fan.lock_as_parent()?;
    let mut dentry = look_up_locked(object, &locked, &name)?;
    if let Some(inode) = dentry.inode() {
        if core::ptr::eq(inode, file.inode()) {
            return Ok(());
        }
        grave::unlink(cache, &write, Some(object), &locked, &dentry, Killed::Stale)?;
        dentry = look_up_locked(object, &locked, &name)?;
    }
    injected_read_error()
        .and_then(|()| locked.link(&write, file.dentry(), &dentry))
        .inspect_err(|&error| {
            trace::vfs_error(id, fan_inode, error, ErrorSite::Link);
        })?;
    trace::link(object.debug_id(), file.inode());
    Ok(())
}
