// SPDX-License-Identifier: GPL-2.0

//! What is remembered of where a file has data, so that its file system need not be asked again.
//!
//! Data that is there stays there until the file is replaced, shortened or punched. Where somebody
//! else does that, the file mostly has fewer blocks afterwards, see [`FileSlot::refresh`]. One
//! range of data is remembered: the one that was met last, together with what touches it. A
//! complete file is one range. Where the number of blocks tells nothing, no data is remembered, and
//! the file system is asked each time.
//!
//! So is the hole that was met last. A write by somebody else fills it unnoticed, so it is only
//! good for what does no harm then: to have the daemon write once more.
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

use super::extent::Extent;
use super::snapshot::Snapshot;
use core::ops::Deref;

/// The file of an object, if there is one, and what is remembered of it.
pub(crate) struct FileSlot<P> {
    file: Option<P>,
    extents: ExtentCache,
}

impl<P: Deref> FileSlot<P> {
    /// Makes a slot without a file. `remembers_data` is whether data may be remembered at all.
    pub(crate) fn empty(remembers_data: bool) -> Self {
        Self {
            file: None,
            extents: ExtentCache::empty(remembers_data),
        }
    }

    /// Returns the file.
    #[inline]
    pub(crate) fn file(&self) -> Option<&P> {
        self.file.as_ref()
    }

    /// Returns the file to be written to, and its generation.
    #[inline]
    pub(crate) fn file_to_write(&self) -> Option<(&P, Generation)> {
        let generation = self.extents.generation();
        self.file.as_ref().map(|file| (file, generation))
    }

    /// Puts another file in place, or none, and returns the one that was. Nothing is remembered of
    /// the new one, nor from what is still done to the old one.
    pub(crate) fn replace(&mut self, file: Option<P>) -> Option<P> {
        self.extents.clear();
        core::mem::replace(&mut self.file, file)
    }

    /// Drops what is stale: all, if the file, at address `file`, has fewer blocks than were
    /// published, or if a read found its end too early, as somebody else took data out of it.
    ///
    /// To be called before each look and each change, so that what is asked, or written, belongs to
    /// a number of blocks from before that. A loss that leaves the file with as many is not seen:
    /// the file system took as many for its own map, or wrote zeros, or something else was written
    /// before the next look.
    #[inline]
    pub(crate) fn refresh(&mut self, snapshot: &Snapshot, file: usize, blocks: u32) {
        let is_doubted = snapshot.is_doubted();
        if blocks == snapshot.blocks() && !is_doubted {
            return;
        }
        if blocks < snapshot.blocks() || is_doubted {
            self.extents.clear();
        }
        let (start, end) = self.extents.data();
        snapshot.publish(file, blocks, start, end);
        if is_doubted {
            snapshot.clear_doubt();
        }
    }

    /// Returns what is remembered of `file`; `None` if that is not, or no longer, the file: what is
    /// in it is not in the new one.
    #[inline]
    pub(crate) fn extents_of(&mut self, file: &P::Target) -> Option<&mut ExtentCache> {
        match &self.file {
            Some(current) if core::ptr::eq(&**current, file) => Some(&mut self.extents),
            _ => None,
        }
    }
}

/// What is remembered of one file: the data and the hole that were met last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtentCache {
    data: Range,
    /// Ends at `i64::MAX` where there is no data behind it.
    hole: Range,
    generation: Generation,
    /// How often data came in. As small as it may be: where it comes round, a hole is remembered
    /// that is none any more.
    additions: u16,
    /// Which question to the file system is likely to be the only one.
    expect_data: bool,
    /// Whether data is remembered at all.
    remembers_data: bool,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    start: i64,
    end: i64,
}

impl Range {
    const EMPTY: Self = Self { start: 0, end: 0 };

    #[inline]
    fn contains(&self, pos: i64) -> bool {
        self.start <= pos && pos < self.end
    }

    /// Removes a part. Of two that are left, keeps the one behind: reads go forward.
    #[inline]
    fn remove(&mut self, start: i64, end: i64) {
        if start < self.end && self.start < end {
            if end < self.end {
                self.start = end;
            } else {
                self.end = start;
            }
        }
    }
}

/// How often a file had lost data when it was asked or written. What comes of that is not to be
/// remembered if the file has lost more by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

/// A question to the file system: of which state of the file, and what it is likely to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    generation: Generation,
    additions: u16,
    pub(crate) expect_data: bool,
}

impl Query {
    /// A question about a file of which nothing is remembered.
    pub(crate) const ANY: Self = Self {
        generation: Generation(0),
        additions: 0,
        expect_data: false,
    };
}

impl ExtentCache {
    /// Makes one in which nothing is remembered. `remembers_data` is as for [`FileSlot::empty`].
    pub(crate) fn empty(remembers_data: bool) -> Self {
        Self {
            data: Range::EMPTY,
            hole: Range::EMPTY,
            generation: Generation(0),
            additions: 0,
            expect_data: false,
            remembers_data,
        }
    }

    /// Returns where the data begins and ends that is known; an empty range if none is.
    #[inline]
    pub(crate) fn data(&self) -> (i64, i64) {
        (self.data.start, self.data.end)
    }

    /// Returns the end of the data that is known to be at `pos`.
    #[inline]
    pub(crate) fn data_end(&self, pos: i64) -> Option<i64> {
        self.data.contains(pos).then_some(self.data.end)
    }

    /// Returns the hole at `pos`, as it was when the file system was asked.
    #[inline]
    pub(crate) fn hole_at(&self, pos: i64) -> Option<Extent> {
        let hole = match self.hole.end {
            i64::MAX => Extent::LastHole,
            data => Extent::Hole(data),
        };
        self.hole.contains(pos).then_some(hole)
    }

    /// Returns the generation, which is to be taken before the file is written to.
    #[inline]
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// Makes a question, which is to be done before the file system is asked.
    #[inline]
    pub(crate) fn query(&self) -> Query {
        Query {
            generation: self.generation,
            additions: self.additions,
            expect_data: self.expect_data,
        }
    }

    /// Remembers that the file system found data from `start` to `end`.
    pub(crate) fn found_data(&mut self, query: Query, start: i64, end: i64) {
        self.insert_data(query.generation, start, end);
    }

    /// Remembers that the file system found a hole at `start`.
    pub(crate) fn found_hole(&mut self, query: Query, start: i64, hole: Extent) {
        self.expect_data = false;
        // What was written since may lie in it.
        if (query.generation, query.additions) == (self.generation, self.additions) {
            let end = match hole {
                Extent::Hole(data) => data,
                Extent::LastHole => i64::MAX,
                Extent::Data(_) => start,
            };
            self.hole = Range { start, end };
        }
    }

    /// Remembers data from `start` to `end`, which was written to a file of that generation.
    #[inline]
    pub(crate) fn insert_data(&mut self, generation: Generation, start: i64, end: i64) {
        self.expect_data = true;
        self.additions = self.additions.wrapping_add(1);
        self.hole.remove(start, end);
        if !self.remembers_data || generation != self.generation || start >= end {
            return;
        }
        let data = &mut self.data;
        let touches = start <= data.end && data.start <= end && data.start < data.end;
        *data = if touches {
            Range {
                start: data.start.min(start),
                end: data.end.max(end),
            }
        } else {
            Range { start, end }
        };
    }

    /// Forgets all, after the file has lost data or another one has taken its place.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            generation: Generation(self.generation.0.wrapping_add(1)),
            ..Self::empty(self.remembers_data)
        };
    }
}
