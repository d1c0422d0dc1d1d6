// SPDX-License-Identifier: GPL-2.0
//! Makes what is on a disk after a power cut, out of what was on it before and of the log.
//!
//! The disk has a volatile cache. What was complete before the last flush is on the medium; of what
//! came after it any sector may be, in any order: a later write may be there without an earlier
//! one, and a write of several sectors in part. What a sector holds is one of the versions that
//! were written to it since, or the one of before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::log::{Entry, Log, SECTOR};

/// How much is copied at a time.
const PIECE: usize = 1 << 20;

/// When and how the power is cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// How many entries of the log were complete.
    pub entries: usize,
    /// What decides which of them are on the medium.
    pub seed: u64,
    /// The disk: what its cache holds, and whether it lies.
    pub disk: Disk,
}

/// What kind of disk it is.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Disk {
    /// The disk lies: so many of the last flushes did nothing
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub ignored_flushes: usize,
    /// What its cache holds: what was written before the last so many KiB is on the medium
    #[arg(long, value_name = "KIB")]
    pub cache_kib: Option<u64>,
}

impl Disk {
    /// How many of the entries are on the medium for certain.
    fn certain(&self, done: &[Entry]) -> usize {
        let mut flushes = done.iter().enumerate().rev().filter(|(_, e)| e.is_flush);
        let flushed = flushes
            .nth(self.ignored_flushes)
            .map_or(0, |(index, _)| index);
        let Some(kib) = self.cache_kib else {
            return flushed;
        };
        let mut room = kib * 1024 / SECTOR;
        let held = done.iter().rev().take_while(|entry| {
            let fits = entry.sectors <= room;
            room = room.saturating_sub(entry.sectors);
            fits
        });
        flushed.max(done.len() - held.count())
    }
}

/// What a cut did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// How many sectors had been written or discarded since the last flush.
    pub open: u64,
    /// How many of them never reached the medium.
    pub lost: u64,
}

/// How likely a write is to be lost, and to be there in part.
#[derive(Clone, Copy)]
struct Odds {
    lost: f64,
    torn: f64,
}

/// What a volatile cache has been seen to do: nothing or all of it written back, most or little of
/// it, and all of it in pieces.
const ODDS: [Odds; 6] = [
    Odds {
        lost: 1.0,
        torn: 0.0,
    },
    Odds {
        lost: 0.0,
        torn: 0.0,
    },
    Odds {
        lost: 0.5,
        torn: 0.25,
    },
    Odds {
        lost: 0.1,
        torn: 0.1,
    },
    Odds {
        lost: 0.9,
        torn: 0.05,
    },
    Odds {
        lost: 0.0,
        torn: 1.0,
    },
];

/// A disk as it was at a moment of the past, which goes on with each cut.
pub struct Medium<'a> {
    log: &'a Log,
    file: File,
    size: u64,
    /// How many entries are on it.
    settled: usize,
}

impl<'a> Medium<'a> {
    /// The disk as it was before the log: a copy of `base` in `file`.
    pub fn new(log: &'a Log, base: &File, file: File) -> Result<Self> {
        let size = copy_sparse(base, &file).context("copying the disk of before")?;
        Ok(Self {
            log,
            file,
            size,
            settled: 0,
        })
    }

    /// Writes to `image` what is on the disk after `cut`. The cuts of a medium come in the order of
    /// their time.
    pub fn image(&mut self, cut: &Cut, image: &File) -> Result<Loss> {
        let entries = self.log.entries();
        let done = entries
            .get(..cut.entries)
            .context("a cut after the log's end")?;
        let certain = cut.disk.certain(done);
        ensure!(certain >= self.settled, "a cut before the one before it");
        for entry in &done[self.settled..certain] {
            self.put(&self.file, entry, |_| true)?;
        }
        self.settled = certain;
        copy_sparse(&self.file, image).context("copying the disk")?;
        let mut random = StdRng::seed_from_u64(cut.seed);
        let odds = ODDS[random.random_range(0..ODDS.len())];
        let mut loss = Loss::default();
        for entry in &done[certain..] {
            let lot = random.random::<f64>();
            let (all, none) = (
                entry.is_durable || lot >= odds.lost + odds.torn,
                !entry.is_durable && lot < odds.lost,
            );
            self.put(image, entry, |_| {
                let is_there = all || !none && random.random::<bool>();
                loss.open += 1;
                loss.lost += u64::from(!is_there);
                is_there
            })?;
        }
        Ok(loss)
    }

    /// Writes those sectors of an entry of which `is_there` says so.
    fn put(&self, file: &File, entry: &Entry, mut is_there: impl FnMut(u64) -> bool) -> Result<()> {
        let end = entry.sector.checked_add(entry.sectors);
        ensure!(
            end.is_some_and(|end| end <= self.size / SECTOR),
            "{entry:?} is beyond the disk's end"
        );
        let data = match entry.is_discard {
            true => vec![0; usize::try_from(entry.sectors * SECTOR)?],
            false => self.log.data(entry)?,
        };
        // A run of sectors that are there, at a time.
        let mut run: Option<(u64, usize)> = None;
        let write = |run: Option<(u64, usize)>| match run {
            Some((first, count)) => {
                let from = usize::try_from(first * SECTOR).unwrap_or_default();
                let bytes = &data[from..from + count * SECTOR as usize];
                file.write_all_at(bytes, (entry.sector + first) * SECTOR)
            }
            None => Ok(()),
        };
        for sector in 0..entry.sectors {
            run = match (is_there(sector), run) {
                (true, Some((first, count))) => Some((first, count + 1)),
                (true, None) => Some((sector, 1)),
                (false, run) => {
                    write(run)?;
                    None
                }
            };
        }
        write(run).context("writing the image")
    }
}

/// Copies what is no hole and no zeros; what `to` had is gone. Returns the size.
pub fn copy_sparse(from: &File, to: &File) -> Result<u64> {
    let size = from.metadata()?.len();
    to.set_len(0)?;
    to.set_len(size)?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        at = match seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(io::Error::from(errno).into()),
        };
        let wanted = usize::try_from(size - at)
            .unwrap_or(usize::MAX)
            .min(PIECE - at as usize % PIECE);
        from.read_exact_at(&mut piece[..wanted], at)?;
        for (index, block) in piece[..wanted].chunks(4096).enumerate() {
            if block.iter().any(|&byte| byte != 0) {
                to.write_all_at(block, at + index as u64 * 4096)?;
            }
        }
        at += wanted as u64;
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::log::made::{Made, file, log};

    const SECTORS: usize = 16;

    /// What is in each sector after a cut: its byte, where all of its bytes are the same.
    fn after(medium: &mut Medium<'_>, cut: Cut) -> (Vec<u8>, Loss) {
        let image = tempfile::tempfile().unwrap();
        let loss = medium.image(&cut, &image).unwrap();
        let mut bytes = vec![0; SECTORS * 512];
        image.read_exact_at(&mut bytes, 0).unwrap();
        let sectors = bytes.chunks(512).map(|sector| {
            assert!(
                sector.iter().all(|&byte| byte == sector[0]),
                "a sector is torn"
            );
            sector[0]
        });
        (sectors.collect(), loss)
    }

    /// All images of a cut that some of many seeds make.
    fn images(log: &Log, entries: usize, disk: Disk) -> BTreeSet<Vec<u8>> {
        let base = file(&[9; SECTORS * 512]);
        let mut medium = Medium::new(log, &base, tempfile::tempfile().unwrap()).unwrap();
        (0..300)
            .map(|seed| {
                let cut = Cut {
                    entries,
                    seed,
                    disk,
                };
                after(&mut medium, cut).0
            })
            .collect()
    }

    fn lying(ignored_flushes: usize) -> Disk {
        Disk {
            ignored_flushes,
            cache_kib: None,
        }
    }

    /// The possible contents of a sector.
    fn versions(images: &BTreeSet<Vec<u8>>, sector: usize) -> Vec<u8> {
        let all: BTreeSet<u8> = images.iter().map(|image| image[sector]).collect();
        all.into_iter().collect()
    }

    #[test]
    fn what_was_flushed_is_there_and_the_rest_may_be_in_any_combination() {
        let log = log(&[
            Made::Write(0, 2, 1),
            Made::Flush,
            Made::Write(1, 3, 2),
            Made::Write(3, 1, 3),
            Made::Flush,
            Made::Write(0, 1, 4),
        ]);
        // Before the second flush.
        let seen = images(&log, 4, Disk::default());
        assert_eq!(versions(&seen, 0), [1]);
        assert_eq!(versions(&seen, 1), [1, 2]);
        assert_eq!(versions(&seen, 2), [2, 9]);
        assert_eq!(versions(&seen, 3), [2, 3, 9]);
        assert_eq!(versions(&seen, 4), [9]);
        // Sectors 1, 2 by one write, 3 by both: any combination.
        assert_eq!(seen.len(), 2 * 2 * 3);
        // Behind it.
        assert_eq!(images(&log, 5, Disk::default()).len(), 1);
        let seen = images(&log, 6, Disk::default());
        assert_eq!(versions(&seen, 0), [1, 4]);
        assert_eq!(versions(&seen, 3), [3]);
    }

    #[test]
    fn a_disk_that_lies_loses_what_was_flushed() {
        let log = log(&[
            Made::Write(0, 1, 1),
            Made::Flush,
            Made::Write(1, 1, 2),
            Made::Flush,
        ]);
        assert_eq!(images(&log, 4, Disk::default()).len(), 1);
        let seen = images(&log, 4, lying(1));
        assert_eq!(
            (versions(&seen, 0), versions(&seen, 1)),
            (vec![1], vec![2, 9])
        );
        let seen = images(&log, 4, lying(9));
        assert_eq!(
            (versions(&seen, 0), versions(&seen, 1)),
            (vec![1, 9], vec![2, 9])
        );
    }

    #[test]
    fn a_small_cache_holds_the_last_writes_only() {
        let log = log(&[
            Made::Write(0, 1, 1),
            Made::Write(1, 2, 2),
            Made::Write(3, 2, 3),
            Made::Write(5, 2, 4),
        ]);
        let of = |kib| {
            let disk = Disk {
                ignored_flushes: 0,
                cache_kib: Some(kib),
            };
            let seen = images(&log, 4, disk);
            [0, 1, 3, 5].map(|sector| versions(&seen, sector).len() == 1)
        };
        // Which of the writes are there for certain.
        assert_eq!(of(0), [true, true, true, true]);
        assert_eq!(of(1), [true, true, true, false]);
        assert_eq!(of(2), [true, true, false, false]);
        assert_eq!(of(100), [false, false, false, false]);
    }

    #[test]
    fn a_discard_leaves_the_old_data_or_zeros() {
        let log = log(&[Made::Discard(2, 2), Made::Flush, Made::Discard(4, 2)]);
        let seen = images(&log, 3, Disk::default());
        assert_eq!(versions(&seen, 2), [0]);
        assert_eq!(versions(&seen, 4), [0, 9]);
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn a_write_that_is_durable_is_there_over_what_came_before() {
        let log = log(&[
            Made::Write(0, 2, 1),
            Made::Durable(0, 1, 2),
            Made::Write(3, 1, 3),
        ]);
        let seen = images(&log, 3, Disk::default());
        assert_eq!(versions(&seen, 0), [2]);
        assert_eq!(versions(&seen, 1), [1, 9]);
        assert_eq!(versions(&seen, 3), [3, 9]);
    }

    #[test]
    fn cuts_go_forward_only_and_no_further_than_the_disk() {
        let log = log(&[
            Made::Write(0, 1, 1),
            Made::Flush,
            Made::Write(SECTORS as u64, 1, 1),
            Made::Flush,
        ]);
        let base = file(&[9; SECTORS * 512]);
        let mut medium = Medium::new(&log, &base, tempfile::tempfile().unwrap()).unwrap();
        let image = tempfile::tempfile().unwrap();
        let mut cut = |entries| {
            let cut = Cut {
                entries,
                seed: 1,
                disk: Disk::default(),
            };
            medium.image(&cut, &image).map(drop)
        };
        assert!(cut(2).is_ok());
        assert!(cut(1).is_err());
        assert!(cut(3).is_err());
        assert!(cut(9).is_err());
    }

    #[test]
    fn the_same_seed_makes_the_same_image() {
        let log = log(&[Made::Write(0, 8, 1), Made::Write(4, 8, 2)]);
        let base = file(&[9; SECTORS * 512]);
        let mut medium = Medium::new(&log, &base, tempfile::tempfile().unwrap()).unwrap();
        let cut = Cut {
            entries: 2,
            seed: 7,
            disk: Disk::default(),
        };
        assert_eq!(after(&mut medium, cut), after(&mut medium, cut));
    }
}
