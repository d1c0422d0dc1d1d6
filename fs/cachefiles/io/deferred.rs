// SPDX-License-Identifier: GPL-2.0

//! Reads of EROFS for which nobody waits: with the module's parameter `async_reads`.
//!
//! The read that readahead asks for returns as soon as the daemon is asked, and goes on when it has
//! answered: see [`Deferred`] and `Documentation/ondemand.rst`.

use super::prepare_read::read_on;
use super::{straight, wait_for_file};
use crate::cache::object::read::{start_read, Failure};
use crate::cache::object::Object;
use crate::cache::ondemand::{Deferral, Deferred, Missing};
use crate::marker::Cachefiles;
use fscache::{Begun, ReadOperation, WantState, Windowed};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel::types::ARef;
use kernel_ext::errno::ENOBUFS;
use kernel_ext::fs::File;
use kernel_ext::io::RequestSlot;

/// Bytes of the largest read that is always waited for.
///
/// Some that are in readahead as well wait for what they ask for, and would not be killed by a
/// signal then, as they are if we wait for the daemon. Those are of blocks of metadata, a page
/// each; and of what EROFS decompresses at once, which is the case for at most three pages. With
/// compressed blocks of a page these lie in four.
const LARGEST_WAITED_FOR: usize = 4 * PAGE_SIZE;

/// Returns whether a read of so many bytes of the object need not wait here for what is missing, as
/// it is not asked for to be used at once.
pub(super) fn is_to_be_deferred(object: &Object, len: usize) -> bool {
    kernel_ext::params::async_reads()
        && len > LARGEST_WAITED_FOR
        && kernel_ext::task::is_nofs()
        && object
            .engine()
            .is_some_and(|engine| engine.has_room_for_deferral())
}

/// Reads from the cache what was left to be fetched by the read.
pub(super) fn read<'op>(mut operation: ReadOperation<'op, Cachefiles>, start: i64) -> Begun<'op> {
    let (mut resources, iter) = operation.parts();
    let Some((object, file)) = wait_for_file(&mut resources, WantState::Read) else {
        return operation.finish(Failure::Whole.outcome(ENOBUFS));
    };
    let is_straight = kernel_ext::params::straight_reads();
    // Also where either parameter was changed since the read was left to this.
    if !is_to_be_deferred(&object, iter.count()) {
        return straight::read(operation, start, is_straight);
    }
    fscache::stats::count_read();
    let end = start.saturating_add_unsigned(iter.count() as u64);
    let hole = match object.data().next_hole(file, start, end) {
        Ok(hole) => hole,
        Err(error) => return operation.finish(Failure::Whole.outcome(error)),
    };
    let Ok(slot) = RequestSlot::new() else {
        return operation.finish(Failure::Whole.outcome(ENOMEM));
    };
    let Some(hole) = hole else {
        if object.is_streamed() {
            read_on(object, file, start, end);
        }
        return start_read(operation, slot, start, 0, Failure::Whole);
    };
    let object = Arc::from(object);
    let Ok(place) = KBox::new_uninit(GFP_KERNEL) else {
        return operation.finish(Failure::Whole.outcome(ENOMEM));
    };
    let Some(deferral) = Deferral::new(&object) else {
        return operation.finish(Failure::Whole.outcome(ENOBUFS));
    };
    // What is asked for ahead of this read is behind it, when it may have ended.
    let file: ARef<File> = file.into();
    let is_missing = hole.start == start && hole.end == end;
    let operation = if is_straight && is_missing {
        Windowed::open(operation)
    } else {
        Windowed::without_window(operation)
    };
    match operation.defer() {
        Ok((read, begun)) => {
            let listed = straight::list(&object, start, end, read.window());
            let deferred = Deferred {
                deferral,
                listed,
                read,
                slot,
                start,
                missing: Missing::new(hole.start, end),
            };
            deferred.begin(place, hole);
            read_ahead(object.as_arc_borrow(), &file, start, end);
            begun
        }
        // EROFS is always told.
        Err(operation) => {
            let (operation, _) = operation.close();
            operation.finish(Failure::Whole.outcome(ENOBUFS))
        }
    }
}

/// Asks for what comes behind a read that misses, if it is one of a sequence.
fn read_ahead(object: ArcBorrow<'_, Object>, file: &File, start: i64, end: i64) {
    if let Some(engine) = object.engine() {
        if let Some(ahead) = engine.note_read(&object, start, end, true) {
            engine.send_ahead(object, file, ahead);
        }
    }
}
