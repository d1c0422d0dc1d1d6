// SPDX-License-Identifier: GPL-2.0

//! Reads of EROFS that get what they wait for from the daemon's writes, and not from the disk: with
//! the module's parameter `straight_reads`.
//!
//! The read looks for holes itself, and lends its memory as long as it waits: see
//! `cache/ondemand/windows.rs` and `Documentation/ondemand.rst`.

use super::prepare_read::{extent_at, fill};
use crate::cache::object::read::{end_filled, start_read, Failure};
use crate::cache::object::Object;
use crate::cache::ondemand::ListedWindow;
use crate::marker::Cachefiles;
use fscache::{Begun, ReadOperation, Windowed};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::ARef;
use kernel_ext::errno::ENOBUFS;
use kernel_ext::fs::File;
use kernel_ext::io::{RequestSlot, Window};

/// Lists the window of a read, if it has one.
pub(super) fn list(
    object: &Arc<Object>,
    start: i64,
    end: i64,
    window: Option<&Arc<Window>>,
) -> Option<ListedWindow> {
    let engine = object.engine()?;
    engine.list_window(object, start, end, window?)
}

/// Has the daemon fill every hole, and reads from the cache what it did not get by that: all of it,
/// unless the read `is_straight`.
///
/// Errors, as of `prepare_ondemand_read`.
pub(super) fn read<'op>(
    mut operation: ReadOperation<'op, Cachefiles>,
    start: i64,
    is_straight: bool,
) -> Begun<'op> {
    let (resources, iter) = operation.parts();
    let (Some(object), Some(file)) = (resources.object(), resources.file()) else {
        return operation.finish(Failure::Whole.outcome(ENOBUFS));
    };
    fscache::stats::count_read();
    let end = start.saturating_add_unsigned(iter.count() as u64);
    let first = match extent_at(&object, file, start, end) {
        Ok(first) => first,
        Err((error, ..)) => return operation.fail(error),
    };
    let (object, file): (Arc<Object>, ARef<File>) = (object.into(), file.into());
    let read = if is_straight && first.hole_end(end) == Some(end) {
        Windowed::open(operation)
    } else {
        Windowed::without_window(operation)
    };
    let filled = {
        let window = read.window();
        let _listed = list(&object, start, end, window);
        let (object, window) = (object.as_arc_borrow(), window.map(|window| &**window));
        fill(object, &file, start, end, Some(first), window, None)
    };
    // Before the end is told: see `ReadDone`.
    drop((object, file));
    let (operation, is_full) = read.close();
    match filled {
        Err((error, ..)) => operation.fail(error),
        Ok(()) if is_full => end_filled(operation),
        Ok(()) => match RequestSlot::new() {
            Ok(slot) => start_read(operation, slot, start, 0, Failure::Whole),
            Err(_) => operation.finish(Failure::Whole.outcome(ENOMEM)),
        },
    }
}
