// SPDX-License-Identifier: GPL-2.0

//! The daemon's write, as far as the engine sees it.

use super::engine::Engine;
use super::filling::Written;
use crate::cache::object::Object;
use cachefiles_bindings::sched;
use kernel::prelude::*;
use kernel_ext::io::IovIterSource;

/// Fills a part of the object's file.
pub(crate) fn write_from_daemon(
    object: &Object,
    pos: i64,
    iter: &mut IovIterSource<'_>,
) -> Result<usize> {
    let len = iter.len();
    let engine = object.cache().ondemand();
    let before = engine.and_then(Engine::before_write);
    if let Some(file) = object.file() {
        // Each may be as slow as it likes on its way to the disk, and there.
        sched::point();
        file.write(pos, len, iter.tag());
        sched::point();
    }
    if let Some(engine) = engine {
        let write = Written {
            start: pos,
            end: pos.saturating_add_unsigned(len as u64),
            is_whole: true,
        };
        engine.fill_windows(object, write, before, iter);
    }
    Ok(len)
}
