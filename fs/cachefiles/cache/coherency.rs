// SPDX-License-Identifier: GPL-2.0

//! Coherency: checks that what is in the cache is what netfs means, and notes on the disk what it
//! is checked by.
//!
//! All of it runs with the cache's credentials.

use crate::cache::object::Object;
use crate::cache::Cache;
use crate::format::layout::{self, Attribute, Content, Mismatch};
use cachefiles_trace::{self as trace, Coherency, ErrorSite};
use fscache::CookieFlag;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel_ext::errno::{ENODATA, ESTALE};
use kernel_ext::fs::{Dentry, File};
use kernel_ext::params::{injected_read_error, injected_remove_error, injected_write_error};

const XATTR: &CStr = kernel::c_str!("user.CacheFiles.cache");

/// Writes down what the object's file holds. Errors: ESTALE no file; what the file system says.
pub(crate) fn set_object(object: &Object) -> Result {
    let file = object.file().ok_or(ESTALE)?;
    let cookie = object.cookie();
    let content = if cookie.test_flag(CookieFlag::LocalWrite) {
        Content::Dirty
    } else {
        Content::NoData
    };
    let attribute = Attribute::file(cookie.object_size(), content, &cookie.aux());

    let result = injected_write_error().and_then(|()| {
        let write = object.cache().backing.want_write()?;
        file.dentry().set_xattr(&write, XATTR, attribute.as_bytes())
    });
    let why = match result {
        Ok(()) => Coherency::SetOk,
        Err(error) => {
            trace::vfs_error(
                Some(object.debug_id()),
                file.inode(),
                error,
                ErrorSite::Setxattr,
            );
            Coherency::SetFail
        }
    };
    trace::coherency(object.debug_id(), file.inode().ino(), content as u8, why);
    result.inspect_err(|&error| {
        if error != ENOMEM {
            object.file_error(error, "Failed to set xattr");
        }
    })
}

/// Returns whether a power cut would leave a file that is taken for good, with something in it that
/// the client changed, if that is written to it now. A file without a name is not found again.
#[inline]
pub(crate) fn lacks_dirty_mark(object: &Object) -> bool {
    !object.is_marked_dirty()
        && !object.is_tmpfile()
        && object.cookie().test_flag(CookieFlag::LocalWrite)
}

/// Marks the object's file as dirty, and waits until the device has the mark for good. From then on
/// a power cut leaves a file that is not used again, so what the client changed may be written to
/// it.
///
/// Does nothing where that is not needed, see [`lacks_dirty_mark`]. May be called by several at
/// once.
///
/// Errors: ESTALE no file; what the file system says.
pub(crate) fn mark_dirty(object: &Object) -> Result {
    if !lacks_dirty_mark(object) {
        return Ok(());
    }
    set_object(object)?;
    let file = object.file().ok_or(ESTALE)?;
    injected_write_error()
        .and_then(|()| file.sync())
        .inspect_err(|&error| {
            let (id, inode) = (Some(object.debug_id()), file.inode());
            trace::vfs_error(id, inode, error, ErrorSite::Setxattr);
            object.file_error(error, "Failed to sync xattr");
        })?;
    object.set_marked_dirty();
    Ok(())
}

/// Checks that the file is what the object's cookie says.
///
/// Errors: ESTALE it is not, or does not say; what the file system says.
pub(crate) fn check_object(object: &Object, file: &File) -> Result {
    let coherency = object.cookie().aux();
    if coherency.len() <= layout::SHORT_COHERENCY_LEN {
        check_object_as::<{ layout::SHORT_LEN }>(object, file, &coherency)
    } else {
        check_object_as::<{ layout::MAX_LEN }>(object, file, &coherency)
    }
}

/// Returns the object's size that its file says it was stored with, in bytes. Whether the file is
/// of this object is for [`check_object`] to tell.
pub(crate) fn noted_size(object: &Object, file: &File) -> Option<u64> {
    let mut attribute = Attribute::<{ layout::MAX_LEN }>::empty_file(&object.cookie().aux());
    injected_read_error()
        .and_then(|()| file.dentry().get_xattr(XATTR, attribute.as_bytes_mut()))
        .ok()?;
    layout::noted_size(attribute.as_bytes())
}

/// Does the work of [`check_object`], for an attribute of at most `N` bytes.
fn check_object_as<const N: usize>(object: &Object, file: &File, coherency: &[u8]) -> Result {
    let mut attribute = Attribute::<N>::empty_file(coherency);
    let expected = attribute.as_bytes().len();
    let read = injected_read_error()
        .and_then(|()| file.dentry().get_xattr(XATTR, attribute.as_bytes_mut()));
    let (why, result) = match read {
        Err(error) => {
            trace::vfs_error(
                Some(object.debug_id()),
                file.inode(),
                error,
                ErrorSite::Getxattr,
            );
            if error == EIO {
                object.file_error(error, "Failed to read xattr");
            }
            (Coherency::CheckXattr, Err(stale_if_other(error)))
        }
        Ok(len) if len != expected => (Coherency::CheckXattr, Err(ESTALE)),
        Ok(_) => {
            let size = object.cookie().object_size();
            match layout::check_file(attribute.as_bytes(), size, coherency) {
                Ok(()) => (Coherency::CheckOk, Ok(())),
                Err(mismatch) => {
                    if mismatch == Mismatch::Dirty {
                        kernel_ext::log::warn!("Dirty object in cache");
                    }
                    (file_why(mismatch), Err(ESTALE))
                }
            }
        }
    };
    let content = layout::content_byte(attribute.as_bytes());
    trace::coherency(object.debug_id(), file.inode().ino(), content, why);
    result
}

/// Translates an error of reading the attribute. Without one, or with one longer than ours are,
/// file or volume is of another state, and would be in the way for ever if it were not replaced.
fn stale_if_other(error: Error) -> Error {
    if error == ENODATA || error == ERANGE {
        ESTALE
    } else {
        error
    }
}

fn file_why(mismatch: Mismatch) -> Coherency {
    match mismatch {
        Mismatch::Length | Mismatch::Reserved => Coherency::CheckXattr,
        Mismatch::Type => Coherency::CheckType,
        Mismatch::Coherency => Coherency::CheckAux,
        Mismatch::ObjectSize => Coherency::CheckObjsize,
        Mismatch::Dirty => Coherency::CheckDirty,
    }
}

/// Makes a file one that will be taken for stale.
pub(crate) fn remove_object(object: &Object, file: &File) {
    let result = injected_remove_error().and_then(|()| {
        let write = object.cache().backing.want_write()?;
        file.dentry().remove_xattr(&write, XATTR)
    });
    if let Err(error) = result {
        trace::vfs_error(
            Some(object.debug_id()),
            file.inode(),
            error,
            ErrorSite::Remxattr,
        );
        if error != ENOENT && error != ENODATA && error != ENOMEM {
            object.file_error(error, "Failed to remove xattr");
        }
    }
}

/// Writes down a volume's coherency data. Errors: what the file system says.
pub(crate) fn set_volume(cache: &Cache, volume: &fscache::Volume, dir: &Dentry) -> Result {
    let inode = dir.inode().ok_or(ENOENT)?;
    let attribute = Attribute::volume(&volume.coherency());
    let result = injected_write_error().and_then(|()| {
        let write = cache.backing.want_write()?;
        dir.set_xattr(&write, XATTR, attribute.as_bytes())
    });
    let why = match result {
        Ok(()) => Coherency::VolSetOk,
        Err(error) => {
            trace::vfs_error(None, inode, error, ErrorSite::Setxattr);
            Coherency::VolSetFail
        }
    };
    trace::vol_coherency(volume.debug_id(), inode.ino(), why);
    result.inspect_err(|&error| {
        if error != ENOMEM {
            cache.file_error(error, format_args!("Failed to set xattr"));
        }
    })
}

/// Checks that the directory is of this volume as it is now.
///
/// Errors: ESTALE it is not; what the file system says.
pub(crate) fn check_volume(cache: &Cache, volume: &fscache::Volume, dir: &Dentry) -> Result {
    let inode = dir.inode().ok_or(ENOENT)?;
    let mut attribute = Attribute::<{ layout::MAX_LEN }>::empty_volume(&volume.coherency());
    let expected = attribute.as_bytes().len();
    let read = injected_read_error().and_then(|()| dir.get_xattr(XATTR, attribute.as_bytes_mut()));
    let (why, result) = match read {
        Err(error) => {
            trace::vfs_error(None, inode, error, ErrorSite::Getxattr);
            if error == EIO {
                cache.file_error(error, format_args!("Failed to read xattr"));
            }
            (Coherency::VolCheckXattr, Err(stale_if_other(error)))
        }
        Ok(len) if len != expected => (Coherency::VolCheckXattr, Err(ESTALE)),
        Ok(_) => match layout::check_volume(attribute.as_bytes(), &volume.coherency()) {
            Ok(()) => (Coherency::VolCheckOk, Ok(())),
            Err(Mismatch::Reserved) => (Coherency::VolCheckResv, Err(ESTALE)),
            Err(_) => (Coherency::VolCheckCmp, Err(ESTALE)),
        },
    };
    trace::vol_coherency(volume.debug_id(), inode.ino(), why);
    result
}
