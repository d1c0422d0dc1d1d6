// SPDX-License-Identifier: GPL-2.0

//! The daemon's write, as far as the engine sees it.

use crate::cache::object::Object;
use kernel::prelude::*;
use kernel_ext::io::IovIterSource;

/// Fills a part of the object's file.
pub(crate) fn write_from_daemon(
    object: &Object,
    pos: i64,
    iter: &mut IovIterSource<'_>,
) -> Result<usize> {
    let len = iter.len();
    if let Some(file) = object.file() {
        file.fill(pos, len);
    }
    Ok(len)
}
