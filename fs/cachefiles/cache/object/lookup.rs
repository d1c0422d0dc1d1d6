// SPDX-License-Identifier: GPL-2.0

//! Looking up an object: finding its file and opening it.
//!
//! All of it runs with the cache's credentials.

use super::create;
use super::resize;
use super::Object;
use crate::backing::in_use::InUse;
use crate::backing::space::Purpose;
use crate::cache::coherency;
use crate::cache::grave;
use cachefiles_trace::{self as trace, ErrorSite, Killed, RefWhy};
use fscache::{CookieFlag, Lookup};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::ARef;
use kernel_ext::errno::ESTALE;
use kernel_ext::fs::{Dentry, File, Path};
use kernel_ext::params::injected_read_error;

/// Where the file of an object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It was there, of whatever size.
    There,
    /// It was made now, and is empty.
    Made,
}

/// The file that a look-up has found or made, and that is not the object's yet.
pub(crate) struct Candidate {
    file: InUse<File>,
    found: Found,
}

/// Looks an object up: finds or makes its file. In on-demand mode the daemon is asked for the
/// object, and the look-up goes on when it has answered, see [`go_on`].
///
/// Errors: ENOBUFS no room; EBUSY the file is in use; EIO the cache is dead; EINVAL for an object
/// that on-demand mode cannot have; what the file system says.
pub(crate) fn look_up(object: &Arc<Object>, lookup: &Lookup<'_>) -> Result {
    let candidate = find(object, lookup)?;
    if let Some(engine) = object.engine() {
        if !is_whole(object, &candidate) {
            engine.check_may_open(object)?;
            object.lookup.begin(candidate)?;
            // Listed from now on, so that it is seen what waits for the daemon.
            let asked = object.cache().add_object(object);
            return asked.and_then(|()| engine.open(object)).inspect_err(|_| {
                object.cache().remove_object(object);
                drop(object.lookup.abandon());
            });
        }
    }
    finish(object, candidate, || lookup.negative())?;
    object.cache().add_object(object)
}

/// Goes on with a look-up whose OPEN was answered. Does nothing if there is none.
pub(crate) fn go_on(object: &Arc<Object>) {
    let Some((candidate, outcome)) = object.lookup.take() else {
        return;
    };
    object.cache().secure(|| {
        let finished = match outcome {
            // netfs has done with the look-up, and cannot be told any more what came of it.
            Ok(()) => finish(object, candidate, || {
                object.cookie().set_flag(CookieFlag::NoDataToRead)
            }),
            Err(error) => {
                drop(candidate);
                Err(error)
            }
        };
        if finished.is_err() {
            object.cache().remove_object(object);
            object.trace_ref(RefWhy::SeeLookupFailed);
            object.set_missing();
        }
    });
    object.lookup.end();
}

/// Finds the file of an object, or makes one.
fn find(object: &Arc<Object>, lookup: &Lookup<'_>) -> Result<Candidate> {
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
            Err(error) if error == ENOENT => return make(object, lookup, &fan),
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
            return make(object, lookup, &fan);
        }
        if let Some(marked) = take(object, &name, &fan, dentry)? {
            return open(object, marked);
        }
        kernel_ext::task::cond_resched();
    }
}

/// Tells netfs that there is nothing to be found, and makes a new file.
fn make(object: &Object, lookup: &Lookup<'_>, fan: &Dentry) -> Result<Candidate> {
    kernel_ext::log::debug!("OBJ{:x}: no file, make one", object.debug_id());
    lookup.negative();
    object.cache().has_space(1, 0, Purpose::Create)?;
    Ok(Candidate {
        file: create::create_tmpfile(object, fan)?,
        found: Found::Made,
    })
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

/// Opens a file that is marked as in use.
fn open(object: &Object, marked: InUse<Dentry>) -> Result<Candidate> {
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
    Ok(Candidate {
        file,
        found: Found::There,
    })
}

/// Returns whether the object needs no daemon: the cache was told that such objects are to do
/// without, and the file has all of it. The object's size is then what the file says.
///
/// Where a hole shows up later, the READ has the object opened as one whose daemon has gone.
fn is_whole(object: &Object, candidate: &Candidate) -> bool {
    // As for an OPEN: no other size is the cache's to set.
    let may_be = candidate.found == Found::There
        && object.cache().is_daemonless()
        && object.cookie().wants_cache_size();
    if !may_be {
        return false;
    }
    let file = &candidate.file;
    let size = coherency::noted_size(object, file).filter(|&size| size > 0);
    let Some((size, end)) = size.and_then(|size| Some((size, i64::try_from(size).ok()?))) else {
        return false;
    };
    if object.data().next_hole(file, 0, end) != Ok(None) {
        return false;
    }
    object.cookie().set_object_size(size);
    coherency::check_object(object, file).is_ok()
}

/// Makes a file that was found or made that of the object, whose size is known by now. One that was
/// found and is of another state is replaced by a new one, which `negative` is told first.
fn finish(object: &Arc<Object>, candidate: Candidate, negative: impl FnOnce()) -> Result {
    let is_made = match candidate {
        Candidate {
            file,
            found: Found::There,
        } => accept(object, file, negative)?,
        Candidate {
            file,
            found: Found::Made,
        } => {
            create::adopt(object, file)?;
            true
        }
    };
    object.trace_ref(RefWhy::SeeLookupCookie);
    // A reader that finds a new file does not wait for the end of the look-up. What the daemon has
    // written for it by now, behind the size that it gave, is not to be cut off.
    if !is_made || !object.is_ondemand() {
        // A file of the wrong size is not lost: what is missing counts as a hole.
        let _ = resize::adjust(object);
    }
    Ok(())
}

/// Makes a file that was there that of the object, or a new one where that is of another state.
/// True if it is a new one.
fn accept(object: &Object, file: InUse<File>, negative: impl FnOnce()) -> Result<bool> {
    if let Err(error) = coherency::check_object(object, &file) {
        kernel_ext::log::debug!(
            "OBJ{:x}: the file is not of this object: {error:?}",
            object.debug_id()
        );
        negative();
        object.cache().backing.space.released(file.inode());
        drop(file);
        if error != ESTALE {
            return Err(error);
        }
        let fan = object.volume().fan_dir(object.cookie().key_hash())?;
        object.cache().has_space(1, 0, Purpose::Create)?;
        create::adopt(object, create::create_tmpfile(object, &fan)?)?;
        return Ok(true);
    }
    object.cookie().clear_flag(CookieFlag::NoDataToRead);
    kernel_ext::log::debug!("OBJ{:x}: inode {}", object.debug_id(), file.inode().ino());
    // Culling goes by atime, which look-up and open leave alone.
    file.touch_atime();
    object.data().replace_file(Some(file));
    Ok(false)
}
