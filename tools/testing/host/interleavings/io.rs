// SPDX-License-Identifier: GPL-2.0

//! Reading from and writing to cache files, as far as the engine sees it.

use crate::cache::object::Object;
use crate::cache::ondemand::Deferral;
use crate::data::extent::Extent;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::fs::{File, Whence};
use kernel_ext::io::IovIterSource;
use kernel_ext::sync::StackNode;
use std::sync::Mutex;
use std::task::Waker;

#[path = "../../../../fs/cachefiles/io/missing.rs"]
mod missing;

use missing::{Hole, Missing};

/// What is at `pos`, and up to where.
pub(crate) fn next_extent(_object: &Object, file: &File, pos: i64, end: i64) -> Result<Extent> {
    match file.llseek(pos, Whence::Data) {
        Ok(data) if data == pos => Ok(Extent::Data(file.llseek(pos, Whence::Hole)?.min(end))),
        Ok(data) => Ok(Extent::Hole(data.min(end))),
        Err(error) if error == ENXIO => Ok(Extent::LastHole),
        Err(error) => Err(error),
    }
}

/// The first hole from `pos` to `end`.
pub(crate) fn next_hole(
    object: &Object,
    file: &File,
    mut pos: i64,
    end: i64,
) -> Result<Option<Hole>> {
    while pos < end {
        match next_extent(object, file, pos, end)? {
            Extent::Data(data_end) => pos = data_end,
            hole => return Ok(hole.hole_end(end).map(|hole_end| (pos, hole_end))),
        }
    }
    Ok(None)
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

/// What whoever asked for a read is told of its end: once.
#[derive(Default)]
pub(crate) struct End {
    told: Mutex<Vec<Result>>,
    /// Who waits for it: the test.
    waiter: Mutex<Option<Waker>>,
}

impl End {
    fn tell(&self, result: Result) {
        // Reads go on from here, and what is told does what it likes.
        cachefiles_bindings::sched::may_sleep();
        cachefiles_bindings::sched::point();
        self.told.lock().unwrap().push(result);
        if let Some(waiter) = self.waiter.lock().unwrap().take() {
            waiter.wake();
        }
    }

    /// Waits until it is told: daemons end when nobody waits for anything any more.
    pub(crate) fn wait(&self) {
        cachefiles_bindings::sched::sleep_until(|waker| {
            *self.waiter.lock().unwrap() = Some(waker.clone());
            (!self.told.lock().unwrap().is_empty()).then_some(())
        });
    }

    /// What was told, and how often. The latter is what the checks are about.
    pub(crate) fn told(&self) -> Vec<Result> {
        self.told.lock().unwrap().clone()
    }
}

/// A read for which nobody waits, as `fs/cachefiles/io/deferred.rs` has it, but for the I/O itself.
pub(crate) struct Deferred {
    deferral: Deferral,
    read: Pending,
    range: Hole,
    missing: Missing,
}

/// Dropping it tells EIO.
struct Pending(Option<std::sync::Arc<End>>);

impl Pending {
    fn end(mut self, result: Result) {
        if let Some(end) = self.0.take() {
            end.tell(result);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end.tell(Err(EIO));
        }
    }
}

/// The place of one in the list of a request.
pub(crate) type DeferredNode = KBox<StackNode<Deferred>>;

impl Deferred {
    /// Begins to read a range.
    pub(crate) fn begin(object: &Arc<Object>, range: Hole) -> std::sync::Arc<End> {
        let end = std::sync::Arc::<End>::default();
        let read = Pending(Some(end.clone()));
        let file = object.file().unwrap();
        match next_hole(object, &file, range.0, range.1) {
            Ok(Some(hole)) => {
                let deferral = Deferral::new(object).unwrap();
                let missing = Missing::new(hole.0, range.1);
                let node = StackNode::new(Self {
                    deferral,
                    read,
                    range,
                    missing,
                });
                match KBox::new(node, GFP_KERNEL) {
                    Ok(node) => ask(object, node, hole),
                    // The read went with it.
                    Err(error) => assert_eq!(error, ENOMEM),
                }
            }
            Ok(None) => read.end(Ok(())),
            Err(error) => read.end(Err(error)),
        }
        end
    }

    pub(crate) fn set_own(&mut self, is_own: bool) {
        self.missing.set_own(is_own);
    }

    pub(crate) fn answered(mut node: DeferredNode, outcome: Result) {
        let object = node.deferral.object().clone();
        let file = object.file().unwrap();
        match outcome.and_then(|()| node.missing.look(&object, &file)) {
            Ok(Some(hole)) => ask(&object, node, hole),
            Ok(None) => {
                let range = node.range;
                let hole = next_hole(&object, &file, range.0, range.1);
                assert_eq!(hole, Ok(None), "read before all of it was there");
                KBox::into_inner(node).into_inner().read.end(Ok(()));
            }
            Err(error) => KBox::into_inner(node).into_inner().read.end(Err(error)),
        }
    }
}

fn ask(object: &Arc<Object>, node: DeferredNode, (pos, end): Hole) {
    let engine = object.cache().ondemand().unwrap();
    engine.fetch_for(object.as_arc_borrow(), pos, end, node);
}
