// SPDX-License-Identifier: GPL-2.0

//! Reads of EROFS for which nobody waits: with the module's parameter `async_reads`.
//!
//! The read that readahead asks for returns as soon as the daemon is asked, and goes on when it has
//! answered: from the answer, `Request::complete`, in the task that it comes from. See
//! `Documentation/ondemand.rst`.

use super::missing::{Hole, Missing};
use super::prepare_read::{round_down, round_up};
use super::read::{start_read, Failure, ReadDone};
use super::{next_hole, wait_for_file};
use crate::cache::object::Object;
use crate::cache::ondemand::Deferral;
use crate::marker::Cachefiles;
use fscache::{Begun, PendingRead, ReadOperation, Termination, WantState};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel_ext::errno::ENOBUFS;
use kernel_ext::io::RequestSlot;
use kernel_ext::sync::StackNode;

/// Bytes of the largest read that is always waited for.
///
/// Some that are in readahead as well wait for what they ask for, and would not be killed by a
/// signal then, as they are if we wait for the daemon. Those are of blocks of metadata, a page
/// each; and of what EROFS decompresses at once, which is the case for at most three pages. With
/// compressed blocks of a page these lie in four.
const LARGEST_WAITED_FOR: usize = 4 * PAGE_SIZE;

/// Whether a read of so many bytes of the object need not wait here for what is missing: whoever
/// asks for it does not do so to use it at once.
pub(super) fn is_to_be_deferred(object: &Object, len: usize) -> bool {
    kernel_ext::params::async_reads()
        && len > LARGEST_WAITED_FOR
        && kernel_ext::task::is_nofs()
        && object
            .cache()
            .ondemand()
            .is_some_and(|engine| engine.has_room_for_deferral())
}

/// A read that waits for the daemon. Dropping it tells the caller EIO.
pub(crate) struct Deferred {
    /// Goes first: see [`ReadDone`].
    deferral: Deferral,
    read: PendingRead<Cachefiles>,
    /// So that the read is never short of memory when the data is there.
    slot: RequestSlot<ReadDone, Termination>,
    start: i64,
    missing: Missing,
}

/// The place of one in the list of a request.
pub(crate) type DeferredNode = KBox<StackNode<Deferred>>;

/// Reads from the cache what was left to be fetched by the read.
pub(super) fn read<'op>(mut operation: ReadOperation<'op, Cachefiles>, start: i64) -> Begun<'op> {
    let (mut resources, iter) = operation.parts();
    let Some((object, file)) = wait_for_file(&mut resources, WantState::Read) else {
        return operation.finish(Failure::Whole.outcome(ENOBUFS));
    };
    fscache::stats::count_read();
    let end = start.saturating_add_unsigned(iter.count() as u64);
    let hole = match next_hole(&object, file, start, end) {
        Ok(hole) => hole,
        Err(error) => return operation.finish(Failure::Whole.outcome(error)),
    };
    let Ok(slot) = RequestSlot::new() else {
        return operation.finish(Failure::Whole.outcome(ENOMEM));
    };
    let Some(hole) = hole else {
        return start_read(operation, slot, start, 0, Failure::Whole);
    };
    let object = Arc::from(object);
    let Ok(place) = KBox::new_uninit(GFP_KERNEL) else {
        return operation.finish(Failure::Whole.outcome(ENOMEM));
    };
    let Some(deferral) = Deferral::new(&object) else {
        return operation.finish(Failure::Whole.outcome(ENOBUFS));
    };
    match operation.defer() {
        Ok((read, begun)) => {
            let deferred = Deferred {
                deferral,
                read,
                slot,
                start,
                missing: Missing::new(hole.0, end),
            };
            ask(
                object.as_arc_borrow(),
                place.write(StackNode::new(deferred)),
                hole,
            );
            begun
        }
        // EROFS is always told.
        Err(operation) => operation.finish(Failure::Whole.outcome(ENOBUFS)),
    }
}

/// Asks the daemon for a hole, in whole pages, as it may write nothing else. If that fails, the
/// read does.
fn ask(object: ArcBorrow<'_, Object>, deferred: DeferredNode, (pos, hole_end): Hole) {
    let (page, read_end) = (PAGE_SIZE as i64, deferred.missing.end());
    let end = round_up(hole_end, page).map_or(read_end, |end| end.min(read_end));
    let pos = round_down(pos, page);
    if let Some(engine) = object.cache().ondemand() {
        engine.fetch_for(object, pos, end, deferred);
    }
}

impl Deferred {
    /// See [`Missing::set_own`].
    pub(crate) fn set_own(&mut self, is_own: bool) {
        self.missing.set_own(is_own);
    }

    /// The READ that it waited for has ended: reads, asks for the next hole, or fails.
    ///
    /// Process context, with no lock held: it sleeps, and does what the end of a read leads to.
    pub(crate) fn answered(mut node: DeferredNode, outcome: Result) {
        match outcome.and_then(|()| node.look()) {
            Ok(Some(hole)) => {
                let object = node.deferral.object().clone();
                ask(object.as_arc_borrow(), node, hole);
            }
            Ok(None) => KBox::into_inner(node).into_inner().submit(),
            Err(error) => KBox::into_inner(node).into_inner().fail(error),
        }
    }

    /// Errors: those of [`Missing::look`].
    fn look(&mut self) -> Result<Option<Hole>> {
        let file = self.read.resources().file().ok_or(EIO)?;
        self.missing.look(self.deferral.object(), file)
    }

    /// Reads what is there now, as whoever opened the file: not as the daemon.
    fn submit(self) {
        let Self {
            deferral,
            read,
            slot,
            start,
            ..
        } = self;
        let cache = deferral.object().cache().clone();
        drop(deferral);
        cache.secure(|| {
            read.resume(|operation| start_read(operation, slot, start, 0, Failure::Whole));
        });
    }

    fn fail(self, error: Error) {
        drop(self.deferral);
        self.read
            .resume(|operation| operation.finish(Failure::Whole.outcome(error)));
    }
}
