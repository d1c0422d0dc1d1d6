// SPDX-License-Identifier: GPL-2.0

//! Reads of EROFS that wait for the daemon without a task: with the module's parameter
//! `async_reads`.
//!
//! They go on from the answer, `Request::complete`, in the task that it comes from. See
//! `Documentation/ondemand.rst`.

use super::deferral::Deferral;
use super::missing::Missing;
use super::windows::ListedWindow;
use crate::cache::object::read::{end_filled, start_read, Failure, ReadDone};
use crate::data::extent::{round_down, round_up, Hole};
use crate::marker::Cachefiles;
use core::mem::MaybeUninit;
use fscache::{PendingRead, Termination, Windowed};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel_ext::io::RequestSlot;
use kernel_ext::sync::StackNode;

/// A read that waits for the daemon. Dropping it tells the caller EIO.
pub(crate) struct Deferred {
    /// These two go first: see [`ReadDone`].
    pub(crate) deferral: Deferral,
    pub(crate) listed: Option<ListedWindow>,
    pub(crate) read: Windowed<PendingRead<Cachefiles>>,
    /// So that the read is never short of memory when the data is there.
    pub(crate) slot: RequestSlot<ReadDone, Termination>,
    /// Where the read begins.
    pub(crate) start: i64,
    pub(crate) missing: Missing,
}

/// The place of one in the list of a request.
pub(crate) type DeferredNode = KBox<StackNode<Deferred>>;

impl Deferred {
    /// Begins to wait: asks the daemon for `hole`, the first of the read.
    pub(crate) fn begin(self, place: KBox<MaybeUninit<StackNode<Self>>>, hole: Hole) {
        ask(place.write(StackNode::new(self)), hole);
    }

    /// Notes whether the READ is its own: see [`Missing::set_own`].
    pub(crate) fn set_own(&mut self, is_own: bool) {
        self.missing.set_own(is_own);
    }

    /// Goes on after the READ that it waited for: reads, asks for the next hole, or fails.
    ///
    /// Process context, with no lock held: it sleeps, and does what the end of a read leads to.
    pub(crate) fn answered(mut node: DeferredNode, outcome: Result) {
        if outcome.is_ok() && node.read.is_full() {
            KBox::into_inner(node).into_inner().submit();
            return;
        }
        match outcome.and_then(|()| node.next_hole()) {
            Ok(Some(hole)) => ask(node, hole),
            Ok(None) => KBox::into_inner(node).into_inner().submit(),
            Err(error) => KBox::into_inner(node).into_inner().fail(error),
        }
    }

    /// Returns the next hole. Errors: those of [`Missing::next_hole`].
    fn next_hole(&mut self) -> Result<Option<Hole>> {
        let file = self.read.resources().file().ok_or(EIO)?;
        self.missing.next_hole(self.deferral.object(), file)
    }

    /// Ends it, if what it waits for was filled in by the writes of the daemon. Else reads what is
    /// there now, with the cache's credentials: not with those of the daemon, in whose task it is.
    fn submit(self) {
        let Self {
            deferral,
            listed,
            read,
            slot,
            start,
            ..
        } = self;
        let cache = deferral.object().cache().clone();
        drop((deferral, listed));
        let (read, is_full) = read.close();
        if is_full {
            read.resume(end_filled);
            return;
        }
        cache.secure(|| {
            read.resume(|operation| start_read(operation, slot, start, 0, Failure::Whole));
        });
    }

    fn fail(self, error: Error) {
        drop((self.deferral, self.listed));
        let (read, _) = self.read.close();
        read.resume(|operation| operation.finish(Failure::Whole.outcome(error)));
    }
}

/// Asks the daemon for a hole, in whole pages, as it may write nothing else. If that fails, the
/// read does.
fn ask(node: DeferredNode, hole: Hole) {
    let (page, read_end) = (PAGE_SIZE as i64, node.missing.end());
    let hole = Hole {
        start: round_down(hole.start, page),
        end: round_up(hole.end, page).map_or(read_end, |end| end.min(read_end)),
    };
    let object = node.deferral.object().clone();
    if let Some(engine) = object.engine() {
        engine.fetch_for(object.as_arc_borrow(), hole, node);
    }
}
