// SPDX-License-Identifier: GPL-2.0

//! Discarding what an object holds.

use super::commit::delete;
use super::create;
use super::Object;
use crate::backing::in_use::InUse;
use cachefiles_trace::Killed;
use fscache::{CookieFlag, Invalidation};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::fs::File;

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

/// Does the work of [`invalidate`] where there is a file, with the cache's credentials.
fn replace_with_empty(
    object: &Arc<Object>,
    current: &File,
    invalidation: Invalidation<'_>,
) -> bool {
    let cookie = object.cookie();
    let was_tmpfile = object.is_tmpfile();
    let Ok(file) = new_file(object) else {
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

/// Makes an empty file that is as large as the object is.
fn new_file(object: &Object) -> Result<InUse<File>> {
    let fan = object.volume().fan_dir(object.cookie().key_hash())?;
    let file = create::create_tmpfile(object, &fan)?;
    create::expand(object, &file)?;
    Ok(file)
}
