// SPDX-License-Identifier: GPL-2.0

//! How a network file system's read is split that begins in data and goes on behind it.
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

/// Where the first part of a read comes from that begins in data and goes on behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstPart {
    /// From the cache, up to here.
    Cached(i64),
    /// From the server, all of it, and it is stored.
    Fetched,
    /// From the server, all of it, and it is stored already, as far as it can be.
    FetchedOnly,
}

impl FirstPart {
    /// Splits a read at `start` of an object of `i_size` bytes, with data up to `data_end`, for a
    /// cache that is written to in whole multiples of `unit` bytes. `None` if that ends nowhere.
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
