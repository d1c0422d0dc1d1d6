// SPDX-License-Identifier: GPL-2.0

//! Making the file of an object.
//!
//! A new file has no name until it is committed. All of it runs with the cache's credentials.

use super::commit::commit;
use super::lookup::Found;
use super::resize::round_to_dio;
use super::Object;
use crate::backing::in_use::InUse;
use crate::backing::space::Purpose;
use cachefiles_trace::{self as trace, ErrorSite, Trunc};
use fscache::{CookieFlag, Lookup};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::fs::{Dentry, File, Path};
use kernel_ext::params::injected_write_error;

/// Tells netfs that there is nothing to be found, and makes a new file.
pub(super) fn create(object: &Arc<Object>, lookup: &Lookup<'_>, fan: &Dentry) -> Result<Found> {
    kernel_ext::log::debug!("OBJ{:x}: no file, make one", object.debug_id());
    lookup.negative();
    create_file(object, fan)
}

pub(super) fn create_file(object: &Arc<Object>, fan: &Dentry) -> Result<Found> {
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
pub(super) fn create_tmpfile(object: &Arc<Object>) -> Result<InUse<File>> {
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
            backing.note_refusal(error);
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

/// Has the daemon accept the object, in on-demand mode. Errors: those of [`Engine::open`].
///
/// [`Engine::open`]: crate::cache::ondemand::Engine::open
pub(super) fn offer_to_daemon(object: &Arc<Object>) -> Result {
    match object.cache().ondemand() {
        Some(engine) => engine.open(object),
        None => Ok(()),
    }
}

/// Refuses a file that cannot be read and written as we do. Error: EINVAL.
pub(super) fn check_operations(file: &File) -> Result {
    if !file.has_iter_ops() {
        kernel_ext::log::notice!("The cache's file system has no read_iter and write_iter");
        return Err(EINVAL);
    }
    Ok(())
}
