// SPDX-License-Identifier: GPL-2.0

//! Writes of the daemon: what it fetched, through an object's anonymous fd.

use super::engine::Engine;
use super::filling::Written;
use crate::backing::space::Purpose;
use crate::cache::object::write::{begin_write, check_start, end_write, write_now};
use crate::cache::object::Object;
use cachefiles_trace as trace;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel_ext::errno::ENOBUFS;
use kernel_ext::io::IovIterSource;

/// Writes for the daemon, through the anonymous fd, at a page boundary. Returns the bytes written.
///
/// It may lie behind the size that the daemon gave: an image may refer to what is there, and then
/// readers ask for it. The next look-up cuts it off.
///
/// Errors: ENOBUFS no file any more, not aligned, or no room; what the file system says.
#[inline]
pub(crate) fn write_from_daemon(
    object: &Object,
    start: i64,
    iter: &mut IovIterSource<'_>,
) -> Result<usize> {
    let target = object.data().file_to_write().ok_or(ENOBUFS)?;
    let file = &target.file;
    let len = iter.count();
    check_start(start).inspect_err(|_| note_misaligned(object, start))?;
    make_room_for_daemon(object, len.div_ceil(PAGE_SIZE) as u64)
        .inspect_err(|&error| note_no_room(object, error))?;
    trace::ondemand_fd_write(object.debug_id(), file.inode(), start, len);
    let engine = object.engine();
    let before = engine.and_then(Engine::before_write);
    let blocks = begin_write(object, file, start, len);
    let result = match before {
        None => write_now(file, start, iter),
        Some(_) => write_now(file, start, &mut iter.duplicate()),
    };
    end_write(object, file, blocks, result.err());
    let written = result.unwrap_or(0);
    if written > 0 {
        let end = start.saturating_add_unsigned(written as u64);
        object.data().written(&target, start, end);
    }
    if let Some(engine) = engine {
        let write = Written {
            start,
            end: start.saturating_add_unsigned(len as u64),
            is_whole: written == len,
        };
        engine.fill_windows(object, write, before, iter);
    }
    if before.is_some() {
        iter.advance(written);
    }
    result
}

/// Logs why the daemon gets ENOBUFS, which has several causes.
#[cold]
fn note_misaligned(object: &Object, start: i64) {
    let Ok(name) = object.name() else { return };
    kernel_ext::log::error!(
        "The daemon writes to {} at {}, which is no multiple of the page size: ENOBUFS",
        name.escape_ascii(),
        start
    );
}

#[cold]
fn note_no_room(object: &Object, error: Error) {
    if let (true, Ok(name)) = (error == ENOBUFS, object.name()) {
        kernel_ext::log::error!(
            "No room for what the daemon writes to {} above the limits fstop and bstop: ENOBUFS",
            name.escape_ascii()
        );
    }
}

/// Finds room for what the daemon writes. Errors: ENOBUFS there is none; those of `statfs()`.
#[inline]
fn make_room_for_daemon(object: &Object, pages: u64) -> Result {
    let cache = object.cache();
    if cache.backing.space.take_allowance(pages) {
        return Ok(());
    }
    cache.secure(|| cache.has_space(0, pages, Purpose::Fetched))
}
