// SPDX-License-Identifier: GPL-2.0
//! A reader process: reads every file of its share once, in an order of its own, and compares
//! checksums.
//!
//! It reports on stdout, one line at a time: `p FILES BYTES BAD ERRORS` with totals so far, and
//! `! TEXT` for each thing that is wrong.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use sha2::{Digest as _, Sha256};

use crate::manifest::{self, Digest};

/// How often totals are reported.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// Memory for one read.
const BUFFER_SIZE: usize = 256 << 10;

/// Options of `read`.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Where the image is mounted
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Checksums of all files, as `sha256sum` prints them
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// Seed of the order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    share: Share,
}

/// Which of the files a reader reads: each file is read by the same number of them.
#[derive(Debug, Clone, Copy, Args)]
pub struct Share {
    /// Number of this reader, from 0
    #[arg(long, default_value_t = 0)]
    pub number: u16,
    /// Number of readers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub readers: u16,
    /// How many of the readers read each file
    #[arg(long, default_value_t = 1)]
    pub overlap: u16,
}

impl Share {
    /// Whether the file at this place of the manifest belongs to it.
    fn has(self, index: usize) -> bool {
        let readers = usize::from(self.readers);
        let distance = index % readers + readers - usize::from(self.number) % readers;
        distance % readers < usize::from(self.overlap)
    }

    /// The options that say it.
    pub fn to_options(self) -> [String; 3] {
        [
            format!("--number={}", self.number),
            format!("--readers={}", self.readers),
            format!("--overlap={}", self.overlap),
        ]
    }
}

/// Totals of one reader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files read to their end.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Files among them with another checksum than the manifest's.
    pub bad: u64,
    /// Files that could not be opened or read.
    pub errors: u64,
}

impl Totals {
    /// The line that reports these totals.
    pub fn to_line(self) -> String {
        format!(
            "p {} {} {} {}",
            self.files, self.bytes, self.bad, self.errors
        )
    }

    /// The totals in such a line.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut numbers = line.strip_prefix("p ")?.split(' ').map(str::parse);
        let mut next = || numbers.next()?.ok();
        let totals = Self {
            files: next()?,
            bytes: next()?,
            bad: next()?,
            errors: next()?,
        };
        numbers.next().is_none().then_some(totals)
    }
}

/// Reads everything. Wrong data is reported, not returned as an error.
pub fn run(args: &ReadArgs) -> Result<()> {
    let mut index = 0..;
    let mut entries = manifest::load(&args.manifest)?;
    entries.retain(|_| index.next().is_some_and(|index| args.share.has(index)));
    entries.shuffle(&mut StdRng::seed_from_u64(args.seed));
    let mut totals = Totals::default();
    let mut reported = Instant::now();
    let mut buffer = vec![0; BUFFER_SIZE];
    for entry in &entries {
        match checksum(&args.root.join(&entry.path), &mut buffer, &mut totals.bytes) {
            Ok(digest) => {
                totals.files += 1;
                if digest != entry.digest {
                    totals.bad += 1;
                    report(&format!(
                        "! {}: the content is not the source's",
                        entry.path.display()
                    ))?;
                }
            }
            Err(error) => {
                totals.errors += 1;
                report(&format!("! {}: {error}", entry.path.display()))?;
            }
        }
        if reported.elapsed() >= REPORT_EVERY {
            report(&totals.to_line())?;
            reported = Instant::now();
        }
    }
    report(&totals.to_line())?;
    Ok(())
}

/// The checksum of a file; `bytes` grows by what was read.
fn checksum(path: &Path, buffer: &mut [u8], bytes: &mut u64) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(length) => {
                hasher.update(buffer.get(..length).unwrap_or_default());
                *bytes += u64::try_from(length).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn report(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_pass_through_their_line() {
        let totals = Totals {
            files: 1,
            bytes: 2,
            bad: 3,
            errors: 4,
        };
        assert_eq!(Totals::from_line(&totals.to_line()), Some(totals));
        for line in [
            "",
            "p",
            "p 1 2 3",
            "p 1 2 3 4 5",
            "p 1 2 3 x",
            "! p 1 2 3 4",
        ] {
            assert_eq!(Totals::from_line(line), None, "{line:?}");
        }
    }

    #[test]
    fn each_file_is_read_by_as_many_readers_as_overlap_says() {
        for (readers, overlap) in [(1, 1), (4, 4), (64, 8), (5, 2)] {
            for index in 0..200 {
                let has = |&number: &u16| {
                    let share = Share {
                        number,
                        readers,
                        overlap,
                    };
                    share.has(index)
                };
                assert_eq!((0..readers).filter(has).count(), usize::from(overlap));
            }
        }
    }

    #[test]
    fn checksums_are_sha256() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let mut bytes = 0;
        let digest = checksum(file.path(), &mut [0; 2], &mut bytes).unwrap();
        assert_eq!(bytes, 3);
        assert_eq!(digest.get(..4), Some(&[0xba, 0x78, 0x16, 0xbf][..]));
        assert_eq!(
            checksum(Path::new("/absent"), &mut [0; 2], &mut bytes)
                .unwrap_err()
                .kind(),
            io::ErrorKind::NotFound
        );
    }
}
