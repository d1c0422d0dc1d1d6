// SPDX-License-Identifier: GPL-2.0

//! How much of the backing file system the cache may take.
//!
//! Three limits each for files and for blocks, in percent of what the file system has that is
//! still free: above *run* culling stops, below *cull* it starts, below *stop* nothing new is
//! allocated. Always `0 <= stop < cull < run < 100`.
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

/// Names one of the six limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    FilesRun,
    FilesCull,
    FilesStop,
    BlocksRun,
    BlocksCull,
    BlocksStop,
}

/// Why a limit can't be set; EINVAL either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadLimit {
    /// Not `N%`.
    Malformed,
    /// Out of order with the others.
    OutOfRange,
}

/// The limits of one resource, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percent {
    pub(crate) run: u8,
    pub(crate) cull: u8,
    pub(crate) stop: u8,
}

/// The limits of one resource, in units of it (files or blocks).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) run: u64,
    pub(crate) cull: u64,
    pub(crate) stop: u64,
}

impl Percent {
    /// Applies the percentages to what the file system has in total. Rounded down by whole percents
    /// first.
    pub(crate) fn of(self, total: u64) -> Amounts {
        let percent = total / 100;
        let amount = |limit: u8| percent.saturating_mul(u64::from(limit));
        Amounts {
            run: amount(self.run),
            cull: amount(self.cull),
            stop: amount(self.stop),
        }
    }

    fn is_ordered(self) -> bool {
        self.stop < self.cull && self.cull < self.run && self.run < 100
    }
}

/// All six limits, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) files: Percent,
    pub(crate) blocks: Percent,
}

impl Limits {
    pub(crate) const DEFAULT: Self = {
        let percent = Percent {
            run: 7,
            cull: 5,
            stop: 1,
        };
        Self {
            files: percent,
            blocks: percent,
        }
    };

    /// Sets one limit from its text, if the order stays as it has to be.
    pub(crate) fn set(&mut self, limit: Limit, text: &[u8]) -> Result<(), BadLimit> {
        let percent = parse_percent(text)?;
        let mut new = *self;
        match limit {
            Limit::FilesRun => new.files.run = percent,
            Limit::FilesCull => new.files.cull = percent,
            Limit::FilesStop => new.files.stop = percent,
            Limit::BlocksRun => new.blocks.run = percent,
            Limit::BlocksCull => new.blocks.cull = percent,
            Limit::BlocksStop => new.blocks.stop = percent,
        }
        if !new.files.is_ordered() || !new.blocks.is_ordered() {
            return Err(BadLimit::OutOfRange);
        }
        *self = new;
        Ok(())
    }
}

/// Reads `N%`. A bare `%` is 0, as it always was; what does not fit is as good as 255.
fn parse_percent(text: &[u8]) -> Result<u8, BadLimit> {
    let digits = text.strip_suffix(b"%").ok_or(BadLimit::Malformed)?;
    digits.iter().try_fold(0u8, |value, &byte| {
        let digit = char::from(byte).to_digit(10).ok_or(BadLimit::Malformed)?;
        let digit = u8::try_from(digit).map_err(|_| BadLimit::Malformed)?;
        Ok(value.saturating_mul(10).saturating_add(digit))
    })
}
