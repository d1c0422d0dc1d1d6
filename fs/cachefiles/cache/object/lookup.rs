// SPDX-License-Identifier: GPL-2.0

//! Looking up an object: finding its file and opening it.
//!
//! All of it runs with the cache's credentials.

use super::create;
use super::Object;
use crate::backing::in_use::InUse;
use crate::cache::coherency;
use crate::cache::grave;
use cachefiles_trace::{self as trace, ErrorSite, Killed};
use fscache::{CookieFlag, Lookup};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::ARef;
use kernel_ext::errno::ESTALE;
use kernel_ext::fs::{Dentry, File, Path};
use kernel_ext::params::injected_read_error;

/// Where the file of an object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It was there, of whatever size.
    There,
    /// It was made now, as large as the object is.
    Made,
}

/// Finds or makes the file of an object, and asks the daemon for it in on-demand mode.
///
/// Errors: ENOBUFS no room; EBUSY the file is in use; what the daemon or the file system says.
pub(crate) fn look_up(object: &Arc<Object>, lookup: &Lookup<'_>) -> Result<Found> {
    let fan = object.volume().fan_dir(object.cookie().key_hash())?;
    let name = object.name()?;
    loop {
        let found = injected_read_error().and_then(|()| fan.lookup_positive_unlocked(&name));
        trace::lookup(
            Some(object.debug_id()),
            &fan,
            found.as_deref().map_err(|error| *error),
        );
        let dentry = match found {
            Ok(dentry) => dentry,
            Err(error) if error == ENOENT => return create::create(object, lookup, &fan),
            Err(error) => {
                if error == EIO {
                    object.file_error(error, "Lookup failed");
                }
                return Err(error);
            }
        };
        if !dentry.is_regular() {
            kernel_ext::log::error!("{} is not a file", name.escape_ascii());
            bury_weird(object, &fan, &dentry)?;
            return create::create(object, lookup, &fan);
        }
        if let Some(marked) = take(object, &name, &fan, dentry)? {
            return open(object, lookup, &fan, marked);
        }
        kernel_ext::task::cond_resched();
    }
}

/// Removes what has the name of the object's file, and is no file.
fn bury_weird(object: &Object, fan: &Dentry, victim: &Dentry) -> Result {
    let cache = object.cache();
    let write = cache.backing.want_write()?;
    let locked = fan.lock_as_parent()?;
    grave::bury(cache, &write, Some(object), locked, victim, Killed::Weird)
}

/// Marks the file of that name as in use. `None` if it lost the name before it was ours.
///
/// Errors: EBUSY it is in use; ENOENT.
fn take(
    object: &Object,
    name: &[u8],
    fan: &Dentry,
    dentry: ARef<Dentry>,
) -> Result<Option<InUse<Dentry>>> {
    let inode = dentry.inode().ok_or(ENOENT)?;
    if let Some(marked) = InUse::mark(Some(object.debug_id()), dentry.clone()) {
        let is_there = marked.is_child_of(fan) && !marked.is_unhashed();
        return Ok(is_there.then_some(marked));
    }
    // A daemon that culls it has the directory locked until it is gone.
    let locked = fan.lock_as_parent()?;
    if !dentry.is_child_of(locked.dentry()) || dentry.is_unhashed() {
        return Ok(None);
    }
    kernel_ext::log::notice!(
        "File {} (inode {}) is in use already",
        name.escape_ascii(),
        inode.ino()
    );
    Err(EBUSY)
}

/// Returns whether the object needs no daemon: the cache was told that such objects are to do
/// without, and the file has all of it. The object's size is then what the file says.
///
/// Where a hole shows up later, the READ has the object opened as one whose daemon has gone.
fn is_whole(object: &Object, file: &File) -> bool {
    // As for an OPEN: no other size is the cache's to set.
    if !object.cache().is_daemonless() || !object.cookie().wants_cache_size() {
        return false;
    }
    let size = coherency::noted_size(object, file).filter(|&size| size > 0);
    let Some((size, end)) = size.and_then(|size| Some((size, i64::try_from(size).ok()?))) else {
        return false;
    };
    if object.data().next_hole(file, 0, end) != Ok(None) {
        return false;
    }
    object.cookie().set_object_size(size);
    true
}

/// Opens a file that is marked as in use, or puts a new one in its place if it is of another state.
fn open(
    object: &Arc<Object>,
    lookup: &Lookup<'_>,
    fan: &Dentry,
    marked: InUse<Dentry>,
) -> Result<Found> {
    let cookie = object.cookie();
    let backing = &object.cache().backing;
    let file = Path::new(&backing.mount, &marked)
        .and_then(|path| File::open_cache_file(&path, &backing.cred))
        .inspect_err(|&error| {
            if let Some(inode) = marked.inode() {
                trace::vfs_error(Some(object.debug_id()), inode, error, ErrorSite::Open);
            }
        })?;
    let file = marked.opened(file);
    create::check_operations(&file)?;

    if !is_whole(object, &file) {
        create::offer_to_daemon(object)?;
    }

    if let Err(error) = coherency::check_object(object, &file) {
        kernel_ext::log::debug!(
            "OBJ{:x}: the file is not of this object: {error:?}",
            object.debug_id()
        );
        lookup.negative();
        backing.space.released(file.inode());
        drop(file);
        return if error == ESTALE {
            create::create_file(object, fan)
        } else {
            Err(error)
        };
    }
    cookie.clear_flag(CookieFlag::NoDataToRead);
    kernel_ext::log::debug!("OBJ{:x}: inode {}", object.debug_id(), file.inode().ino());
    // Culling goes by atime, which look-up and open leave alone.
    file.touch_atime();
    object.data().replace_file(Some(file));
    Ok(Found::There)
}
