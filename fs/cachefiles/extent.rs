// SPDX-License-Identifier: GPL-2.0

//! What is remembered of where a file has data, so that its file system need not be asked again.
//!
//! Data that is there stays there until the file is replaced, shortened or punched. One stretch is
//! remembered: the last that was met, as long as what touches it makes it. A complete file is one
//! stretch.
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

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

/// What is remembered of one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    start: i64,
    end: i64,
    /// What was asked before this changed is not to be remembered any more.
    age: Age,
    /// Which question is likely to be the only one.
    expect_data: bool,
}

/// When something was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age(u32);

impl Known {
    pub(crate) const NOTHING: Self = Self {
        start: 0,
        end: 0,
        age: Age(0),
        expect_data: false,
    };

    /// The end of the data that is known to be at `pos`.
    pub(crate) fn data_end(&self, pos: i64) -> Option<i64> {
        (self.start <= pos && pos < self.end).then_some(self.end)
    }

    /// To be taken before the file system is asked, or written to.
    pub(crate) fn age(&self) -> Age {
        self.age
    }

    /// Whether data is more likely to be found than a hole.
    pub(crate) fn expects_data(&self) -> bool {
        self.expect_data
    }

    /// There is data from `start` to `end`, or was when the file was as old as `age`.
    pub(crate) fn learn_data(&mut self, age: Age, start: i64, end: i64) {
        self.expect_data = true;
        if age != self.age || start >= end {
            return;
        }
        let touches = start <= self.end && self.start <= end && self.start < self.end;
        (self.start, self.end) = if touches {
            (self.start.min(start), self.end.max(end))
        } else {
            (start, end)
        };
    }

    /// A hole was found where somebody wanted to read.
    pub(crate) fn learn_hole(&mut self) {
        self.expect_data = false;
    }

    /// The file has lost data, or is another one. To be called after that.
    pub(crate) fn forget(&mut self) {
        *self = Self {
            age: Age(self.age.0.wrapping_add(1)),
            ..Self::NOTHING
        };
    }
}
