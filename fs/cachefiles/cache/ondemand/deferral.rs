// SPDX-License-Identifier: GPL-2.0

//! Reads for which nobody waits, and how many of them there may be.

use super::engine::Engine;
use crate::cache::object::Object;
use core::sync::atomic::Ordering;
use kernel::sync::Arc;

/// How many there are at most in one cache, but for those that begin at the same moment: then reads
/// are waited for again. The pages of each are locked until the daemon answers, and a program that
/// asks for readahead could lock all memory that way.
const MOST: u32 = 256;

/// One read for which nobody waits, as long as the daemon is at it.
pub(crate) struct Deferral {
    object: Arc<Object>,
}

impl Deferral {
    /// Counts a read. `None` in a cache without a daemon.
    pub(crate) fn new(object: &Arc<Object>) -> Option<Self> {
        let engine = object.engine()?;
        engine.deferrals.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            object: object.clone(),
        })
    }

    /// Returns the object that is read.
    pub(crate) fn object(&self) -> &Arc<Object> {
        &self.object
    }
}

impl Drop for Deferral {
    fn drop(&mut self) {
        if let Some(engine) = self.object.engine() {
            engine.deferrals.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Engine {
    /// Returns whether there may be another one.
    pub(crate) fn has_room_for_deferral(&self) -> bool {
        self.deferrals.load(Ordering::Relaxed) < MOST
    }
}
