// SPDX-License-Identifier: GPL-2.0

//! A read that waits without a task, as far as the engine sees it.

use super::deferral::Deferral;
use super::missing::Missing;
use crate::cache::object::Object;
use crate::data::extent::Hole;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::sync::StackNode;
use std::sync::Mutex;
use std::task::Waker;

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

/// A deferred read, as `fs/cachefiles/cache/ondemand/deferred.rs` has it, without the I/O itself.
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
        match object.data().next_hole(&file, range.start, range.end) {
            Ok(Some(hole)) => {
                let deferral = Deferral::new(object).unwrap();
                let missing = Missing::new(hole.start, range.end);
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
        match outcome.and_then(|()| node.missing.next_hole(&object, &file)) {
            Ok(Some(hole)) => ask(&object, node, hole),
            Ok(None) => {
                let range = node.range;
                let hole = object.data().next_hole(&file, range.start, range.end);
                assert_eq!(hole, Ok(None), "read before all of it was there");
                KBox::into_inner(node).into_inner().read.end(Ok(()));
            }
            Err(error) => KBox::into_inner(node).into_inner().read.end(Err(error)),
        }
    }
}

fn ask(object: &Arc<Object>, node: DeferredNode, hole: Hole) {
    let engine = object.cache().ondemand().unwrap();
    engine.fetch_for(object.as_arc_borrow(), hole, node);
}
