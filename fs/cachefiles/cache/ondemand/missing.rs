// SPDX-License-Identifier: GPL-2.0

//! What a read that waits without a task still lacks.
//!
//! Knows the engine's side of such a read and nothing else of it: also compiled into the model of
//! the engine.

use crate::cache::object::Object;
use crate::data::extent::Hole;
use kernel::prelude::*;
use kernel_ext::fs::File;

/// The part of a read that is not known to be in the cache.
pub(crate) struct Missing {
    /// Up to here there is data.
    pos: i64,
    end: i64,
    /// The READ that it waits for is its own: that one may not end without data.
    is_own: bool,
}

impl Missing {
    /// Makes that of a read up to `end` whose first hole begins at `pos`.
    pub(crate) fn new(pos: i64, end: i64) -> Self {
        Self {
            pos,
            end,
            is_own: false,
        }
    }

    /// Returns where the read ends.
    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// Notes whether the READ that it waits for from now on was sent for it, and not for another.
    pub(crate) fn set_own(&mut self, is_own: bool) {
        self.is_own = is_own;
    }

    /// Finds the hole that is to be asked for next, after a READ that it waited for.
    ///
    /// Errors: EIO there still is a hole where the daemon says that it has filled it; those of
    /// `lseek()`.
    pub(crate) fn next_hole(&mut self, object: &Object, file: &File) -> Result<Option<Hole>> {
        let extent = object.data().extent_at(file, self.pos, self.end)?;
        if let Some(end) = extent.hole_end(self.end) {
            return if self.is_own {
                Err(EIO)
            } else {
                Ok(Some(Hole {
                    start: self.pos,
                    end,
                }))
            };
        }
        let hole = object.data().next_hole(file, self.pos, self.end)?;
        self.pos = hole.map_or(self.end, |hole| hole.start);
        Ok(hole)
    }
}
