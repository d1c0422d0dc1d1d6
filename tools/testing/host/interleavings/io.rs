// SPDX-License-Identifier: GPL-2.0

//! Reading from and writing to cache files, as far as the engine sees it.

use crate::extent::Extent;
use crate::object::Object;
use kernel::prelude::*;
use kext::fs::{File, Whence};
use kext::io::IovIterSource;

/// What is at `pos`, and up to where.
pub(crate) fn next_extent(_object: &Object, file: &File, pos: i64, end: i64) -> Result<Extent> {
    match file.llseek(pos, Whence::Data) {
        Ok(data) if data == pos => Ok(Extent::Data(file.llseek(pos, Whence::Hole)?.min(end))),
        Ok(data) => Ok(Extent::Hole(data.min(end))),
        Err(error) if error == ENXIO => Ok(Extent::LastHole),
        Err(error) => Err(error),
    }
}

/// The daemon's write.
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
