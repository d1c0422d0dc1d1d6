// SPDX-License-Identifier: GPL-2.0

//! Which objects are read in sequence, and what is asked for ahead of those who read them.
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

use crate::data::extent::{round_down, round_up};

/// Sequences that are remembered in a cache. So many readers may be at it at a time.
const STREAMS: usize = 32;

/// A sequence of fewer bytes than that may be an accident: nothing is asked for ahead of it.
const LEAST_RUN: i64 = 64 << 10;

/// READs ahead of one sequence are of at least so many bytes.
const LEAST_UNIT: i64 = 64 << 10;

/// So many READs ahead of one sequence, or a few more: where the range is large, they are.
const MOST_UNITS: i64 = 32;

/// A sequence that was not read on while so many other reads came by has ended, it seems.
const STALE: u32 = 256;

/// A read of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAt {
    /// The number of the object.
    pub(crate) object: u32,
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// The size of the object: nothing behind it is asked for.
    pub(crate) size: i64,
    /// Some of it was not in the cache.
    pub(crate) is_missing: bool,
}

/// A range that is to be asked for before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ahead {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Bytes of each READ.
    pub(crate) unit: i64,
}

/// Reads of an object that follow each other.
#[derive(Clone, Copy, Debug)]
struct Stream {
    object: u32,
    /// The number of the read that was its last.
    used: u32,
    /// Where that one ended, and the next one begins.
    next: i64,
    /// Bytes that were read.
    run: i64,
    /// Up to here is asked for.
    ahead: i64,
}

impl Stream {
    /// Matches nothing.
    const NONE: Self = Self {
        object: 0,
        used: 0,
        next: -1,
        run: 0,
        ahead: 0,
    };

    fn is_sure(&self) -> bool {
        self.run >= LEAST_RUN
    }

    /// Notes that it was read on. Returns what is to be asked for ahead of that.
    fn read_on(&mut self, read: &ReadAt, limit: i64, page: i64) -> Option<Ahead> {
        let len = read.end - read.start;
        self.next = read.end;
        self.run = self.run.saturating_add(len);
        if !self.is_sure() {
            self.ahead = read.end;
            return None;
        }
        let object_end = round_down(read.size, page);
        if read.end >= object_end {
            // There is nothing more to it.
            *self = Self::NONE;
            return None;
        }
        // No farther than twice of what was read: that much is wasted if it ends here.
        let reach = round_down(limit.min(self.run.saturating_mul(2)), page);
        let unit = len.max(LEAST_UNIT).max(limit / MOST_UNITS);
        let unit = round_up(unit, page)?.min(reach);
        if unit == 0 {
            return None;
        }
        // What was asked for may end inside of this read: then the rest of it, too, so that it does
        // not take one round trip after the other.
        let start = if self.ahead > read.start {
            self.ahead
        } else {
            round_up(read.end, page)?
        };
        let farthest = read.end.checked_add(reach)?;
        let end = if farthest >= object_end {
            object_end
        } else {
            start + round_down((farthest - start).max(0), unit)
        };
        if end <= start {
            return None;
        }
        self.ahead = end;
        Some(Ahead { start, end, unit })
    }
}

/// The sequences of a cache.
#[derive(Debug)]
pub(crate) struct Streams {
    streams: [Stream; STREAMS],
    /// Counts reads.
    reads: u32,
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) ahead: Option<Ahead>,
    /// The object is read in sequence: reads that find all in the cache are to be noted as well.
    pub(crate) is_streamed: bool,
}

impl Streams {
    pub(crate) const fn new() -> Self {
        Self {
            streams: [Stream::NONE; STREAMS],
            reads: 0,
        }
    }

    /// Notes a read, and decides what is to be asked for ahead of it: at most `limit` bytes behind
    /// its end, in whole pages.
    ///
    /// Only a read that misses begins a sequence. All reads go on with one.
    pub(crate) fn note(&mut self, read: &ReadAt, limit: i64, page: i64) -> Noted {
        self.reads = self.reads.wrapping_add(1);
        let reads = self.reads;
        let mut ahead = None;
        let is_next = |stream: &&mut Stream| {
            stream.object == read.object && stream.next == read.start && read.end > read.start
        };
        if let Some(stream) = self.streams.iter_mut().find(is_next) {
            stream.used = reads;
            ahead = stream.read_on(read, limit, page);
        } else if read.is_missing && !self.has_read(read) {
            self.begin(read);
        }
        let is_streamed = self.streams.iter().any(|stream| {
            stream.object == read.object
                && stream.is_sure()
                && reads.wrapping_sub(stream.used) < STALE
        });
        Noted { ahead, is_streamed }
    }

    /// Notes that of what was to be asked for, up to `wanted`, only a part was, up to `asked`.
    pub(crate) fn fall_short(&mut self, object: u32, wanted: i64, asked: i64) {
        for stream in &mut self.streams {
            if stream.object == object && stream.ahead == wanted {
                stream.ahead = asked;
            }
        }
    }

    /// Returns whether this was the last read of a sequence: it comes once more, as the first one
    /// failed, or for somebody else.
    fn has_read(&self, read: &ReadAt) -> bool {
        let is_last = |stream: &Stream| stream.object == read.object && stream.next == read.end;
        self.streams.iter().any(is_last)
    }

    /// Begins a sequence, in the place of the one that was not read on for longest.
    fn begin(&mut self, read: &ReadAt) {
        let reads = self.reads;
        let oldest = self
            .streams
            .iter_mut()
            .max_by_key(|stream| reads.wrapping_sub(stream.used));
        if let Some(stream) = oldest {
            *stream = Stream {
                object: read.object,
                used: reads,
                next: read.end,
                run: read.end - read.start,
                ahead: read.end,
            };
        }
    }
}
