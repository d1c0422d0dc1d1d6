// SPDX-License-Identifier: GPL-2.0
//! Marks in the log of what happened when: lines of text that the machine writes to a block behind
//! the file system, past its own cache. They are in the log in their order among the other writes.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use cachefiles_protocol::AlignedBuffer;
use rustix::fs::OFlags;
use rustix::time::{ClockId, clock_gettime};

use crate::log::{Log, SECTOR};

/// What every mark begins with.
const PREFIX: &str = "powercut-mark";

/// Something that happened in the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The images are mounted.
    Start,
    /// Time went by.
    Beat,
    /// A READ of a blob was answered, and the kernel was told so.
    Read {
        /// Which blob.
        key: String,
        /// Which bytes of it.
        range: Range<u64>,
    },
    /// All was read.
    End,
}

/// A mark: an event and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// By the machine's monotonic clock.
    pub time: Duration,
    /// What happened.
    pub event: Event,
}

impl Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX} {} ", self.time.as_nanos())?;
        match &self.event {
            Event::Start => writeln!(f, "start"),
            Event::Beat => writeln!(f, "beat"),
            Event::Read { key, range } => {
                writeln!(f, "read {} {} {key}", range.start, range.end)
            }
            Event::End => writeln!(f, "end"),
        }
    }
}

impl Mark {
    /// Reads a line.
    fn parse(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [PREFIX, time, event @ ..] = words.as_slice() else {
            bail!("not a mark: {line}");
        };
        let event = match event {
            ["start"] => Event::Start,
            ["beat"] => Event::Beat,
            ["read", start, end, key] => Event::Read {
                key: (*key).to_owned(),
                range: start.parse()?..end.parse()?,
            },
            ["end"] => Event::End,
            _ => bail!("not an event: {line}"),
        };
        let time = Duration::from_nanos(time.parse()?);
        Ok(Self { time, event })
    }
}

/// Writes marks.
pub struct Marker {
    device: File,
    place: u64,
    block: Mutex<AlignedBuffer>,
}

impl Marker {
    /// Writes to the block of 4096 bytes at `place` of the device.
    pub fn open(device: &Path, place: u64) -> Result<Self> {
        let device = File::options()
            .write(true)
            .custom_flags(i32::try_from(OFlags::DIRECT.bits())?)
            .open(device)
            .with_context(|| format!("opening {}", device.display()))?;
        Ok(Self {
            device,
            place,
            block: Mutex::new(AlignedBuffer::new(4096)),
        })
    }

    /// Writes a mark, and waits until the disk has it.
    pub fn write(&self, event: Event) -> Result<()> {
        let time = clock_gettime(ClockId::Monotonic);
        let time = Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?);
        let line = Mark { time, event }.to_string();
        let mut block = self
            .block
            .lock()
            .map_err(|_| anyhow!("a marker panicked"))?;
        block.fill(0);
        block
            .get_mut(..line.len())
            .context("too long a mark")?
            .copy_from_slice(line.as_bytes());
        self.device
            .write_all_at(&block, self.place)
            .context("writing a mark")
    }

    /// Flushes the disk, so that the log's head counts all entries.
    pub fn flush(&self) -> Result<()> {
        self.device.sync_all().context("flushing the disk")
    }
}

/// The marks of a log, each with the index of its entry.
pub struct Marks(Vec<(usize, Mark)>);

impl Marks {
    /// Finds them: what was written to the block at `place`.
    pub fn find(log: &Log, place: u64) -> Result<Self> {
        let mut marks = Vec::new();
        for (index, entry) in log.entries().iter().enumerate() {
            if entry.sector != place / SECTOR || entry.is_discard || entry.sectors == 0 {
                continue;
            }
            let data = log.data(entry)?;
            let line = data.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let line = std::str::from_utf8(line).context("a mark that is no text")?;
            marks.push((index, Mark::parse(line)?));
        }
        Ok(Self(marks))
    }

    /// The entries between start and end.
    pub fn recorded(&self) -> Result<Range<usize>> {
        let find = |wanted: Event| {
            let found = self.0.iter().find(|(_, mark)| mark.event == wanted);
            found
                .map(|(index, _)| *index)
                .with_context(|| format!("no mark says {wanted:?}"))
        };
        Ok(find(Event::Start)? + 1..find(Event::End)?)
    }

    /// What had happened by the time that so many entries were complete.
    pub fn before(&self, entries: usize) -> Past<'_> {
        let count = self.0.partition_point(|(index, _)| *index < entries);
        Past(&self.0[..count])
    }
}

/// What had happened by the time of a cut.
pub struct Past<'a>(&'a [(usize, Mark)]);

impl Past<'_> {
    /// When the last mark was made.
    pub fn now(&self) -> Duration {
        self.0.last().map(|(_, mark)| mark.time).unwrap_or_default()
    }

    /// The READs that were complete, by blob, with their times.
    pub fn reads(&self) -> BTreeMap<&str, Vec<(Range<u64>, Duration)>> {
        let mut reads: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (_, mark) in self.0 {
            if let Event::Read { key, range } = &mark.event {
                reads
                    .entry(key.as_str())
                    .or_default()
                    .push((range.clone(), mark.time));
            }
        }
        reads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let read = Event::Read {
            key: "blob-1".into(),
            range: 4096..12288,
        };
        for event in [Event::Start, Event::Beat, read, Event::End] {
            let mark = Mark {
                time: Duration::from_nanos(1_234_567_890_123),
                event,
            };
            let line = mark.to_string();
            assert_eq!(Mark::parse(line.trim_end()).unwrap(), mark);
        }
        assert!(Mark::parse("powercut-mark 12 flight").is_err());
        assert!(Mark::parse("something else").is_err());
    }
}
