// SPDX-License-Identifier: GPL-2.0

//! A cache file: the pages that it has.

use kernel::error::code::ENXIO;
use kernel::error::Result;
use std::collections::BTreeMap;
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
    /// What each page has that there is.
    present: Mutex<BTreeMap<i64, u32>>,
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
        self.write(pos, len, 0);
    }

    /// The same, with this content.
    pub fn write(&self, pos: i64, len: usize, tag: u32) {
        let end = pos.saturating_add_unsigned(len as u64);
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.extend((pos / PAGE..(end + PAGE - 1) / PAGE).map(|page| (page, tag)));
    }

    /// The content of a page, if it is there.
    pub fn content(&self, page: i64) -> Option<u32> {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.get(&page).copied()
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
        let found = (pos / PAGE..self.pages).find(|page| present.contains_key(page) == wanted);
        match (found, whence) {
            (Some(page), _) => Ok(pos.max(page * PAGE)),
            (None, Whence::Hole) if pos < self.pages * PAGE => Ok(self.pages * PAGE),
            (None, _) => Err(ENXIO),
        }
    }
}
