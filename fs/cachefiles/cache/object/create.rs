// SPDX-License-Identifier: GPL-2.0

//! Making the file of an object.
//!
//! A new file has no name until it is committed. All of it runs with the cache's credentials.

use super::commit::commit;
use super::resize::round_to_dio;
use super::Object;
use crate::backing::in_use::InUse;
use cachefiles_trace::{self as trace, ErrorSite, Trunc};
use fscache::CookieFlag;
use kernel::prelude::*;
use kernel_ext::fs::{Dentry, File, Path};
use kernel_ext::params::injected_write_error;

/// Makes a new file that of the object, whose size is known by now. Errors: EFBIG; EINVAL; what the
/// file system says.
pub(super) fn adopt(object: &Object, file: InUse<File>) -> Result {
    expand(object, &file)?;
    object.cookie().set_flag(CookieFlag::NeedsUpdate);
    object.set_tmpfile(true);
    object.data().replace_file(Some(file));
    if object.is_ondemand() && object.cache().backing.trust.names_early() {
        // What the daemon fetches is to outlive a power cut, and each block is there or a hole. A
        // file that netfs writes to, and one on a file system that is not trusted with a part of a
        // file, gets its name when it is put away.
        if let Some(file) = object.file() {
            commit(object, &file);
        }
    }
    Ok(())
}

/// Makes a file without a name. It gets its name when the object is committed.
///
/// Errors: what the file system says.
pub(super) fn create_tmpfile(object: &Object, fan: &Dentry) -> Result<InUse<File>> {
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
    InUse::mark(id, file).ok_or(EBUSY)
}

/// Makes a new file as large as the object is. Errors: EFBIG; EINVAL it cannot be read and written
/// as we do; what the file system says.
pub(super) fn expand(object: &Object, file: &File) -> Result {
    let size = round_to_dio(object.cookie().object_size())?;
    if size > 0 {
        let id = object.debug_id();
        trace::trunc(id, file.inode(), 0, size, Trunc::ExpandTmpfile);
        injected_write_error()
            .and_then(|()| file.truncate(size))
            .inspect_err(|&error| {
                trace::vfs_error(Some(id), file.inode(), error, ErrorSite::Trunc);
            })?;
    }
    check_operations(file)
}

/// Refuses a file that cannot be read and written as we do. Error: EINVAL.
pub(super) fn check_operations(file: &File) -> Result {
    if !file.has_iter_ops() {
        kernel_ext::log::notice!("The cache's file system has no read_iter and write_iter");
        return Err(EINVAL);
    }
    Ok(())
}
