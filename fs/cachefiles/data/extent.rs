// SPDX-License-Identifier: GPL-2.0

//! A piece of a file: data or hole.
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

/// A piece of a file that is of one kind, in bytes.
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
    /// Returns it without what is behind `end`.
    #[inline]
    pub(crate) fn up_to(self, end: i64) -> Self {
        match self {
            Self::Data(data_end) => Self::Data(data_end.min(end)),
            Self::Hole(data) => Self::Hole(data.min(end)),
            Self::LastHole => Self::LastHole,
        }
    }

    /// Returns the end of a hole, which is at most `end`. `None` if it is data.
    #[inline]
    pub(crate) fn hole_end(self, end: i64) -> Option<i64> {
        match self {
            Self::Data(_) => None,
            Self::Hole(data) => Some(data.min(end)),
            Self::LastHole => Some(end),
        }
    }
}

/// A hole of a file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// Rounds a position up to a multiple of `unit`. `None` if that is too large.
pub(crate) fn round_up(value: i64, unit: i64) -> Option<i64> {
    value
        .checked_add(unit - 1)
        .map(|value| round_down(value, unit))
}

/// Rounds a position down to a multiple of `unit`.
pub(crate) fn round_down(value: i64, unit: i64) -> i64 {
    value - value.rem_euclid(unit)
}
