// SPDX-License-Identifier: GPL-2.0

//! What is remembered of where a file has data, so that its file system need not be asked again.
//!
//! Data that is there stays there until the file is replaced, shortened or punched. Who does that
//! past us mostly leaves it with fewer blocks, see [`Backing::see`]. One stretch is remembered: the
//! last that was met, as long as what touches it makes it. A complete file is one stretch. Where
//! the number of blocks tells nothing, no data is remembered, and the file system is asked each
//! time.
//!
//! So is the hole that was met last. Whoever writes to the file past us fills it without our
//! knowing, so it is only good for what does no harm then: to have the daemon write once more.
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

use super::snapshot::Glance;
use core::ops::Deref;

/// A stretch of a file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Data from the position asked for up to here.
    Data(i64),
    /// A hole up to here, with data behind it, or not to be looked at.
    Hole(i64),
    /// A hole up to the end of the file.
    LastHole,
}

impl Extent {
    /// Without what is behind `end`.
    #[inline]
    pub(crate) fn up_to(self, end: i64) -> Self {
        match self {
            Self::Data(data_end) => Self::Data(data_end.min(end)),
            Self::Hole(data) => Self::Hole(data.min(end)),
            Self::LastHole => Self::LastHole,
        }
    }

    /// The end of a hole, which is at most `end`. `None` if it is data.
    #[inline]
    pub(crate) fn hole_end(self, end: i64) -> Option<i64> {
        match self {
            Self::Data(_) => None,
            Self::Hole(data) => Some(data.min(end)),
            Self::LastHole => Some(end),
        }
    }
}

/// Where the first part of a read comes from that begins in data and goes on behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstPart {
    /// From the cache, up to here.
    Cached(i64),
    /// From the server, all of it, and it is stored.
    Fetched,
    /// The same, but it is stored already, as far as it can be.
    FetchedOnly,
}

impl FirstPart {
    /// Of a read at `start` of an object of `i_size` bytes, with data up to `data_end`, for a cache
    /// that is written to in whole multiples of `unit` bytes. `None` if that ends nowhere.
    pub(crate) fn of(start: i64, data_end: i64, i_size: i64, unit: i64) -> Option<Self> {
        let whole = data_end - data_end.rem_euclid(unit);
        if data_end >= i_size {
            // The last unit of the object may well end before the file's does.
            let is_whole = whole == data_end;
            let end = if is_whole {
                whole
            } else {
                whole.checked_add(unit)?
            };
            return Some(Self::Cached(end));
        }
        if whole <= start {
            // File systems with smaller blocks may have lost a part of it.
            return Some(Self::Fetched);
        }
        if i_size - whole >= unit {
            return Some(Self::Cached(whole));
        }
        // What is left is less than a page: netfs would finish that page from two sides at once,
        // and Linux 6.12 stumbles over it (`netfs_consume_read_data()`, "Can't donate prior to
        // front"). With a page more to download it does not, and asks no more often.
        let whole = whole - unit;
        Some(if whole <= start {
            Self::FetchedOnly
        } else {
            Self::Cached(whole)
        })
    }
}

/// The file of an object, if there is one, and what is remembered of it.
pub(crate) struct Backing<P> {
    file: Option<P>,
    known: Known,
}

impl<P: Deref> Backing<P> {
    /// No file yet. `keeps_data` is whether what is known of its data may be remembered.
    pub(crate) fn none(keeps_data: bool) -> Self {
        Self {
            file: None,
            known: Known::nothing(keeps_data),
        }
    }

    #[inline]
    pub(crate) fn file(&self) -> Option<&P> {
        self.file.as_ref()
    }

    /// The file to be written to, and how old it is.
    #[inline]
    pub(crate) fn to_write(&self) -> Option<(&P, Age)> {
        self.file.as_ref().map(|file| (file, self.known.age()))
    }

    /// Puts another file in place, or none, and returns the one that was. Nothing is known of the
    /// new one, nor learnt from what is still done to the old one.
    pub(crate) fn replace(&mut self, file: Option<P>) -> Option<P> {
        self.known.forget();
        core::mem::replace(&mut self.file, file)
    }

    /// Forgets what is known if the file, at address `file`, has fewer blocks than `glance` shows,
    /// or if a read found its end too early: somebody took data out of it past us.
    ///
    /// To be called before each look and each change, so that what is asked, or written, belongs to
    /// a number of blocks from before that. A loss that leaves the file with as many is not seen:
    /// the file system took as many for its own map, or wrote zeros, or something else was written
    /// before the next look.
    #[inline]
    pub(crate) fn see(&mut self, glance: &Glance, file: usize, blocks: u32) {
        let is_doubted = glance.is_doubted();
        if blocks == glance.blocks() && !is_doubted {
            return;
        }
        if blocks < glance.blocks() || is_doubted {
            self.known.forget();
        }
        let (start, end) = self.known.data();
        glance.show(file, blocks, start, end);
        if is_doubted {
            glance.settle();
        }
    }

    /// What is known of `file`; `None` if that is not, or no longer, the file: what is in it is
    /// not in the new one.
    #[inline]
    pub(crate) fn known(&mut self, file: &P::Target) -> Option<&mut Known> {
        match &self.file {
            Some(current) if core::ptr::eq(&**current, file) => Some(&mut self.known),
            _ => None,
        }
    }
}

/// What is remembered of one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    data: Stretch,
    /// Ends at `i64::MAX` where there is no data behind it.
    hole: Stretch,
    age: Age,
    /// How often data came in. As small as it may be: where it comes round, a hole is remembered
    /// that is none any more.
    additions: u16,
    /// Which question is likely to be the only one.
    expect_data: bool,
    /// Whether data is remembered at all.
    keeps_data: bool,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: i64,
    end: i64,
}

impl Stretch {
    const EMPTY: Self = Self { start: 0, end: 0 };

    #[inline]
    fn holds(&self, pos: i64) -> bool {
        self.start <= pos && pos < self.end
    }

    /// Takes a stretch away. Of two that are left, keeps the one behind: reads go forward.
    #[inline]
    fn cut(&mut self, start: i64, end: i64) {
        if start < self.end && self.start < end {
            if end < self.end {
                self.start = end;
            } else {
                self.end = start;
            }
        }
    }
}

/// How often a file had lost data when something was asked. What was asked before it lost more is
/// not to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age(u32);

/// When the file system was asked, and what it is likely to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    age: Age,
    additions: u16,
    pub(crate) expect_data: bool,
}

impl Question {
    /// On a file of which nothing is remembered.
    pub(crate) const ANY: Self = Self {
        age: Age(0),
        additions: 0,
        expect_data: false,
    };
}

impl Known {
    pub(crate) fn nothing(keeps_data: bool) -> Self {
        Self {
            data: Stretch::EMPTY,
            hole: Stretch::EMPTY,
            age: Age(0),
            additions: 0,
            expect_data: false,
            keeps_data,
        }
    }

    /// The data that is known, from where to where; empty if none is.
    #[inline]
    pub(crate) fn data(&self) -> (i64, i64) {
        (self.data.start, self.data.end)
    }

    /// The end of the data that is known to be at `pos`.
    #[inline]
    pub(crate) fn data_end(&self, pos: i64) -> Option<i64> {
        self.data.holds(pos).then_some(self.data.end)
    }

    /// The hole at `pos`, as it was when it was last looked at.
    #[inline]
    pub(crate) fn hole(&self, pos: i64) -> Option<Extent> {
        let hole = match self.hole.end {
            i64::MAX => Extent::LastHole,
            data => Extent::Hole(data),
        };
        self.hole.holds(pos).then_some(hole)
    }

    /// To be taken before the file is written to.
    #[inline]
    pub(crate) fn age(&self) -> Age {
        self.age
    }

    /// To be taken before the file system is asked.
    #[inline]
    pub(crate) fn question(&self) -> Question {
        Question {
            age: self.age,
            additions: self.additions,
            expect_data: self.expect_data,
        }
    }

    /// The file system found data from `start` to `end`.
    pub(crate) fn answer_data(&mut self, question: Question, start: i64, end: i64) {
        self.learn_data(question.age, start, end);
    }

    /// The file system found a hole at `start`.
    pub(crate) fn answer_hole(&mut self, question: Question, start: i64, hole: Extent) {
        self.expect_data = false;
        // What was written since may lie in it.
        if (question.age, question.additions) == (self.age, self.additions) {
            let end = match hole {
                Extent::Hole(data) => data,
                Extent::LastHole => i64::MAX,
                Extent::Data(_) => start,
            };
            self.hole = Stretch { start, end };
        }
    }

    /// Data was written from `start` to `end`, to a file that was as old as `age` before.
    #[inline]
    pub(crate) fn learn_data(&mut self, age: Age, start: i64, end: i64) {
        self.expect_data = true;
        self.additions = self.additions.wrapping_add(1);
        self.hole.cut(start, end);
        if !self.keeps_data || age != self.age || start >= end {
            return;
        }
        let data = &mut self.data;
        let touches = start <= data.end && data.start <= end && data.start < data.end;
        *data = if touches {
            Stretch {
                start: data.start.min(start),
                end: data.end.max(end),
            }
        } else {
            Stretch { start, end }
        };
    }

    /// The file has lost data, or is another one. To be called after that.
    pub(crate) fn forget(&mut self) {
        *self = Self {
            age: Age(self.age.0.wrapping_add(1)),
            ..Self::nothing(self.keeps_data)
        };
    }
}
