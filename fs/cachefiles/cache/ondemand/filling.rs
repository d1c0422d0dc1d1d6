// SPDX-License-Identifier: GPL-2.0

//! What a write of the daemon is to a read that has a window.
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

/// A write of the daemon that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) start: i64,
    /// Up to here it was to go, and may have changed the file.
    pub(crate) end: i64,
    /// All of it is in the file.
    pub(crate) is_whole: bool,
}

/// What is to be done with a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filling {
    /// The write has nothing to do with it.
    Nothing,
    /// Bytes of the write go into it, behind those that it has.
    Fill {
        /// Bytes of the write in front of them.
        skip: usize,
        len: usize,
    },
    /// It is not known any more that it has what the file has.
    Shut,
}

impl Filling {
    /// Decides what a write does to the window of a read from `start` to `end`, of which the last
    /// `left` bytes are not filled. `is_before` is whether the window was there before the write
    /// began.
    ///
    /// Each byte is filled by the one write that there was of it since the window is there: of two,
    /// only the file knows which was the last. That goes for those that were under way at that
    /// moment, too, so they fill nothing.
    pub(crate) fn of(start: i64, end: i64, left: usize, write: Written, is_before: bool) -> Self {
        let (from, to) = (start.max(write.start), end.min(write.end));
        if from >= to {
            return Self::Nothing;
        }
        let next = end.saturating_sub_unsigned(left as u64);
        if !write.is_whole || !is_before || from != next {
            return Self::Shut;
        }
        let bytes = |from: i64, to: i64| usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        Self::Fill {
            skip: bytes(write.start, from),
            len: bytes(from, to),
        }
    }
}
