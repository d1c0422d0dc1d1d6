// SPDX-License-Identifier: GPL-2.0

//! Finding the file of an object, making it, giving it its name, and letting go of it.
//!
//! All of it runs with the cache's credentials.

use crate::backing::in_use::InUse;
use crate::backing::space::Purpose;
use crate::cache::coherency;
use crate::cache::grave;
use crate::cache::object::resize::round_to_dio;
use crate::cache::object::Object;
use cachefiles_trace::{self as trace, ErrorSite, Killed, Trunc};
use fscache::{CookieFlag, Invalidation, Lookup};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::ARef;
use kernel_ext::errno::ESTALE;
use kernel_ext::fs::{Dentry, File, LockedDir, Path};
use kernel_ext::params::{injected_read_error, injected_write_error};

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
            Err(error) if error == ENOENT => return create(object, lookup, &fan),
            Err(error) => {
                if error == EIO {
                    object.file_error(error, "Lookup failed");
                }
                return Err(error);
            }
        };
        if !dentry.is_regular() {
            kernel_ext::log::error!("{} is not a file", name.escape_ascii());
            let locked = fan.lock_as_parent()?;
            grave::bury(object.cache(), Some(object), locked, &dentry, Killed::Weird)?;
            return create(object, lookup, &fan);
        }
        if let Some(marked) = take(object, &name, &fan, dentry)? {
            return open(object, lookup, &fan, marked);
        }
        kernel_ext::task::cond_resched();
    }
}

/// Marks the file of that name as in use. None if it lost the name before it was ours.
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
    // Who culls it has the directory locked until it is gone.
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

/// Notes towards netfs that there is nothing to be found, and makes a new file.
fn create(object: &Arc<Object>, lookup: &Lookup<'_>, fan: &Dentry) -> Result<Found> {
    kernel_ext::log::debug!("OBJ{:x}: no file, make one", object.debug_id());
    lookup.negative();
    create_file(object, fan)
}

fn create_file(object: &Arc<Object>, fan: &Dentry) -> Result<Found> {
    object.cache().has_space(1, 0, Purpose::Create)?;
    let file = create_tmpfile_in(object, fan)?;
    object.cookie().set_flag(CookieFlag::NeedsUpdate);
    object.set_tmpfile(true);
    object.data().replace_file(Some(file));
    if object.cache().ondemand().is_some() {
        // What the daemon fetches is to outlive a power cut, and each block is there or a hole. A
        // file that netfs writes to gets its name when netfs is done with it.
        if let Some(file) = object.file() {
            commit(object, &file);
        }
    }
    Ok(Found::Made)
}

/// Makes a file without a name, as large as the object is. It gets its name when the object is
/// committed.
///
/// Errors: what the daemon or the file system says.
pub(crate) fn create_tmpfile(object: &Arc<Object>) -> Result<InUse<File>> {
    let fan = object.volume().fan_dir(object.cookie().key_hash())?;
    create_tmpfile_in(object, &fan)
}

fn create_tmpfile_in(object: &Arc<Object>, fan: &Dentry) -> Result<InUse<File>> {
    let id = Some(object.debug_id());
    let backing = &object.cache().backing;
    let dir = Path::new(&backing.mount, fan)?;
    let file = injected_write_error()
        .and_then(|()| File::create_tmpfile(&dir, 0o600, &backing.cred))
        .inspect_err(|&error| {
            if let Some(inode) = fan.inode() {
                trace::vfs_error(id, inode, error, ErrorSite::Tmpfile);
            }
            if error == EIO {
                object.file_error(error, "Failed to create tmpfile");
            }
        })?;
    trace::tmpfile(object.debug_id(), file.inode());
    // Nobody else can know of a new file.
    let file = InUse::mark(id, file).ok_or(EBUSY)?;

    offer_to_daemon(object)?;

    let size = round_to_dio(object.cookie().object_size())?;
    if size > 0 {
        trace::trunc(
            object.debug_id(),
            file.inode(),
            0,
            size,
            Trunc::ExpandTmpfile,
        );
        injected_write_error()
            .and_then(|()| file.truncate(size))
            .inspect_err(|&error| {
                trace::vfs_error(id, file.inode(), error, ErrorSite::Trunc);
            })?;
    }
    check_operations(&file)?;
    Ok(file)
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
    check_operations(&file)?;

    offer_to_daemon(object)?;

    if let Err(error) = coherency::check_object(object, &file) {
        kernel_ext::log::debug!(
            "OBJ{:x}: the file is not of this object: {error:?}",
            object.debug_id()
        );
        lookup.negative();
        backing.space.released(file.inode());
        drop(file);
        return if error == ESTALE {
            create_file(object, fan)
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

/// In on-demand mode the daemon has to accept the object.
fn offer_to_daemon(object: &Arc<Object>) -> Result {
    match object.cache().ondemand() {
        Some(engine) => engine.open(object),
        None => Ok(()),
    }
}

fn check_operations(file: &File) -> Result {
    if !file.has_iter_ops() {
        kernel_ext::log::notice!("The cache's file system has no read_iter and write_iter");
        return Err(EINVAL);
    }
    Ok(())
}

/// Lets go of the object's file: commits it, or removes it if netfs retired the object, or it is of
/// no use.
pub(crate) fn put_away(object: &Object) {
    use cachefiles_trace::RefWhy;

    let Some(file) = object.data().held_file() else {
        return;
    };
    let retired = object.cookie().test_flag(CookieFlag::Retired);
    match (retired || object.data().is_stale(), object.is_tmpfile()) {
        (true, false) => {
            object.see(RefWhy::SeeCleanDelete);
            let why = if retired {
                Killed::Retired
            } else {
                Killed::Stale
            };
            // Failing is made known by itself.
            if delete(object, &file, why).is_err() {
                coherency::remove_object(object, &file);
            }
        }
        (true, true) => object.see(RefWhy::SeeCleanDropTmp),
        (false, _) => {
            object.see(RefWhy::SeeCleanCommit);
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
fn delete(object: &Object, file: &File, why: Killed) -> Result {
    let fan = object.volume().fan_dir(object.cookie().key_hash())?;
    let name = object.name()?;
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
    grave::unlink(object.cache(), Some(object), &locked, &dentry, why)
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

fn commit(object: &Object, file: &ARef<File>) {
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
    let fan = object.volume().fan_dir(object.cookie().key_hash())?;
    let fan_inode = fan.inode().ok_or(ENOENT)?;
    let name = object.name()?;
    let locked = fan.lock_as_parent()?;
    let mut dentry = look_up_locked(object, &locked, &name)?;
    if let Some(inode) = dentry.inode() {
        if core::ptr::eq(inode, file.inode()) {
            return Ok(());
        }
        grave::unlink(
            object.cache(),
            Some(object),
            &locked,
            &dentry,
            Killed::Stale,
        )?;
        dentry = look_up_locked(object, &locked, &name)?;
    }
    injected_read_error()
        .and_then(|()| locked.link(file.dentry(), &dentry))
        .inspect_err(|&error| {
            trace::vfs_error(id, fan_inode, error, ErrorSite::Link);
        })?;
    trace::link(object.debug_id(), file.inode());
    Ok(())
}

/// Puts an empty file in place of the object's, whose content netfs no longer wants.
///
/// False where that can't be done: netfs then gives up caching the object.
pub(crate) fn invalidate(object: &Arc<Object>, invalidation: Invalidation<'_>) -> bool {
    let Some(current) = object.data().held_file() else {
        invalidation.resume();
        return true;
    };
    object
        .cache()
        .secure(|| replace_with_empty(object, &current, invalidation))
}

/// What is left of [`invalidate`] where there is a file; with the cache's credentials.
fn replace_with_empty(
    object: &Arc<Object>,
    current: &File,
    invalidation: Invalidation<'_>,
) -> bool {
    let cookie = object.cookie();
    let was_tmpfile = object.is_tmpfile();
    let Ok(file) = create_tmpfile(object) else {
        // The old one must not be committed as what is valid from now on.
        object.data().mark_stale(current);
        return false;
    };
    let mut old = object.data().replace_file(Some(file));
    if was_tmpfile {
        // As in C, the trace does not tell when the mark of a file without a name goes.
        old = old.map(InUse::untraced);
    }
    object.set_tmpfile(true);
    cookie.set_flag(CookieFlag::NeedsUpdate);
    invalidation.resume();

    if let Some(old) = old.filter(|_| !was_tmpfile) {
        // If that fails it is replaced when the new file gets its name; until then it may be
        // culled.
        let _ = delete(object, &old, Killed::Invalidated);
    }
    true
}
