// SPDX-License-Identifier: GPL-2.0
//! Reads the log of all that was written to a disk, as QEMU's block driver `blklogwrites` and the
//! kernel's dm-log-writes write it (`Documentation/admin-guide/device-mapper/log-writes.rst`).
//!
//! The log's first sector says how many entries there are. Each is a sector of its own, with the
//! data behind it, unless it is a discard. An entry is logged when it is complete; a flush is
//! logged when it is asked for, so all that stands before it was complete by then.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context as _, Result, ensure};

/// The unit of places and lengths.
pub const SECTOR: u64 = 512;

const MAGIC: u64 = 0x6a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// Something that was asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The first sector.
    pub sector: u64,
    /// How many of them.
    pub sectors: u64,
    /// All that was complete before this is on the medium.
    pub is_flush: bool,
    /// What is written is on the medium once it is complete.
    pub is_durable: bool,
    /// The sectors hold nothing any more.
    pub is_discard: bool,
    /// Where its data lies in the log, in bytes.
    data: u64,
}

/// A log and what is in it.
#[derive(Debug)]
pub struct Log {
    file: File,
    entries: Vec<Entry>,
}

impl Log {
    /// Reads the entries, and leaves their data in the file.
    pub fn read(file: File) -> Result<Self> {
        let length = file.metadata().context("how long the log is")?.len();
        let mut head = [0; 28];
        file.read_exact_at(&mut head, 0)
            .context("the log is empty: nothing was flushed")?;
        ensure!(word(&head, 0) == MAGIC, "this is no log of writes");
        ensure!(
            word(&head, 1) == VERSION,
            "the log is of version {}",
            word(&head, 1)
        );
        let size = u64::from(u32::from_le_bytes([head[24], head[25], head[26], head[27]]));
        ensure!(size == SECTOR, "the log is of sectors of {size} bytes");
        let mut entries = Vec::new();
        let mut at = SECTOR;
        for number in 0..word(&head, 2) {
            let mut bytes = [0; 32];
            file.read_exact_at(&mut bytes, at)
                .with_context(|| format!("entry {number} is not there"))?;
            let flags = word(&bytes, 2);
            ensure!(
                flags & !(FLUSH | FUA | DISCARD | MARK) == 0,
                "entry {number} has the flags {flags:#x}"
            );
            let is_discard = flags & DISCARD != 0;
            let entry = Entry {
                sector: word(&bytes, 0),
                sectors: word(&bytes, 1),
                is_flush: flags & FLUSH != 0,
                is_durable: flags & FUA != 0,
                is_discard,
                data: at + SECTOR,
            };
            at += SECTOR;
            if flags & MARK != 0 {
                // Words of whoever wrote the log: as many bytes as the fourth word says.
                at += word(&bytes, 3).next_multiple_of(SECTOR);
            } else {
                if !is_discard {
                    at += entry.sectors * SECTOR;
                }
                entries.push(entry);
            }
            ensure!(at <= length, "the data of entry {number} is not there");
        }
        Ok(Self { file, entries })
    }

    /// What was asked of the disk, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What was written by an entry that is no discard.
    pub fn data(&self, entry: &Entry) -> Result<Vec<u8>> {
        ensure!(!entry.is_discard, "a discard has no data");
        let mut data = vec![0; usize::try_from(entry.sectors * SECTOR)?];
        self.file
            .read_exact_at(&mut data, entry.data)
            .context("reading the log")?;
        Ok(data)
    }
}

/// A word of eight bytes.
fn word(bytes: &[u8], index: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[8 * index..][..8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
pub mod made {
    //! Logs that are made by tests.

    use super::*;

    /// What a test has written to the disk.
    pub enum Made {
        /// Sector, and the byte that each of so many sectors is full of.
        Write(u64, u64, u8),
        /// The same, on the medium at once.
        Durable(u64, u64, u8),
        /// Sector and count.
        Discard(u64, u64),
        Flush,
    }

    /// The bytes of a log.
    pub fn bytes(made: &[Made]) -> Vec<u8> {
        let mut head = [MAGIC, VERSION, made.len() as u64]
            .map(u64::to_le_bytes)
            .concat();
        head.extend_from_slice(&(SECTOR as u32).to_le_bytes());
        head.resize(SECTOR as usize, 0);
        for one in made {
            let (sector, sectors, flags, byte) = match *one {
                Made::Write(sector, sectors, byte) => (sector, sectors, 0, Some(byte)),
                Made::Durable(sector, sectors, byte) => (sector, sectors, FUA, Some(byte)),
                Made::Discard(sector, sectors) => (sector, sectors, DISCARD, None),
                Made::Flush => (0, 0, FLUSH, None),
            };
            let mut entry = [sector, sectors, flags, 0].map(u64::to_le_bytes).concat();
            entry.resize(SECTOR as usize, 0);
            head.extend_from_slice(&entry);
            if let Some(byte) = byte {
                head.resize(head.len() + (sectors * SECTOR) as usize, byte);
            }
        }
        head
    }

    /// A log of these.
    pub fn log(made: &[Made]) -> Log {
        Log::read(file(&bytes(made))).unwrap()
    }

    /// A file of these bytes.
    pub fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }
}

#[cfg(test)]
mod tests {
    use super::made::{Made, bytes, file, log};
    use super::*;

    #[test]
    fn the_data_of_each_entry_is_found_behind_discards_and_flushes() {
        let log = log(&[
            Made::Write(8, 2, 1),
            Made::Discard(100, 50),
            Made::Flush,
            Made::Durable(9, 1, 2),
        ]);
        let entries = log.entries();
        assert_eq!(entries.len(), 4);
        assert_eq!(log.data(&entries[0]).unwrap(), [1; 1024]);
        assert_eq!((entries[1].sector, entries[1].sectors), (100, 50));
        assert!(entries[1].is_discard && log.data(&entries[1]).is_err());
        assert!(entries[2].is_flush && !entries[2].is_durable);
        assert!(entries[3].is_durable);
        assert_eq!(log.data(&entries[3]).unwrap(), [2; 512]);
    }

    #[test]
    fn what_is_cut_short_or_is_no_log_is_refused() {
        let whole = bytes(&[Made::Write(8, 2, 1)]);
        assert!(Log::read(file(&whole)).is_ok());
        assert!(Log::read(file(&whole[..whole.len() - 1])).is_err());
        assert!(Log::read(file(&[])).is_err());
        let mut other = whole.clone();
        other[0] ^= 1;
        assert!(Log::read(file(&other)).is_err());
        let mut flags = whole;
        flags[512 + 16] = 0x80;
        assert!(Log::read(file(&flags)).is_err());
    }
}
