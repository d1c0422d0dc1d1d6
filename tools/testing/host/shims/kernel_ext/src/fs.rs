// SPDX-License-Identifier: GPL-2.0

//! A cache file: the pages that it has.

use kernel::error::code::ENXIO;
use kernel::error::Result;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The size of a page, in bytes.
pub const PAGE: i64 = 4096;

/// What `lseek()` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// `SEEK_SET`
    Set,
    /// `SEEK_CUR`
    Cur,
    /// `SEEK_DATA`
    Data,
    /// `SEEK_HOLE`
    Hole,
}

impl Whence {
    /// Of the number that user space gives.
    pub fn from_raw(raw: i32) -> Option<Self> {
        match raw {
            0 => Some(Self::Set),
            1 => Some(Self::Cur),
            3 => Some(Self::Data),
            4 => Some(Self::Hole),
            _ => None,
        }
    }
}

/// A file of so many pages.
pub struct File {
    pages: i64,
    present: Mutex<BTreeSet<i64>>,
}

impl File {
    /// One with nothing but holes.
    pub fn new(pages: i64) -> Self {
        Self {
            pages,
            present: Mutex::default(),
        }
    }

    /// Data comes in, in whole pages.
    pub fn fill(&self, pos: i64, len: usize) {
        let end = pos.saturating_add_unsigned(len as u64);
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.extend(pos / PAGE..(end + PAGE - 1) / PAGE);
    }

    /// `lseek()` of a file whose own position stays at 0. May sleep. Error: ENXIO, there is nothing
    /// of it from there on.
    pub fn llseek(&self, pos: i64, whence: Whence) -> Result<i64> {
        cachefiles_bindings::sched::may_sleep();
        if matches!(whence, Whence::Set | Whence::Cur) {
            return Ok(pos);
        }
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = whence == Whence::Data;
        let found = (pos / PAGE..self.pages).find(|page| present.contains(page) == wanted);
        match (found, whence) {
            (Some(page), _) => Ok(pos.max(page * PAGE)),
            (None, Whence::Hole) if pos < self.pages * PAGE => Ok(self.pages * PAGE),
            (None, _) => Err(ENXIO),
        }
    }
}
