// SPDX-License-Identifier: GPL-2.0
//! The chunks of a cache file: which are there, and whether they are right.

use std::fmt;
use std::fs::File;
use std::ops::{AddAssign, Range};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use cachefiles_protocol::{AlignedBuffer, Errno, page_size};
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom, fallocate, open, seek};

use crate::backend::chunks::Index;

/// How many chunks there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the cache, and right.
    pub right: u64,
    /// They were in the cache, and not what the index says.
    pub wrong: u64,
    /// They were in the cache in part, which nothing can be said of.
    pub in_part: u64,
    /// Not in the cache.
    pub absent: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.in_part += other.in_part;
        self.absent += other.absent;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            right,
            wrong,
            in_part,
            absent,
        } = self;
        write!(
            f,
            "{right} chunks are right, {wrong} were wrong and {in_part} there in part only, which \
             are removed, {absent} were not there"
        )
    }
}

/// How much of a range is in a file.
#[derive(Debug, PartialEq, Eq)]
enum There {
    All,
    Part,
    Nothing,
}

/// Compares the chunks of a file that nobody uses, and punches those that are not right. What was
/// punched is on the disk when this returns.
pub fn verify_chunks(path: &Path, index: &Index) -> Result<Counts> {
    let file = open_past_cache(path).with_context(|| format!("opening {}", path.display()))?;
    // The last page is cached whole.
    let end = index.size().next_multiple_of(page_size());
    let length = file.metadata()?.len();
    ensure!(
        length <= end,
        "it has {length} bytes, and the index is of a blob of {}: `invalidate` removes it",
        index.size()
    );
    let size = index.chunk_size();
    let mut buffer = AlignedBuffer::new(usize::try_from(size.max(page_size()))?);
    let mut counts = Counts::default();
    let mut start = 0;
    while start < index.size() {
        let chunk = start..(start + size).min(end);
        match there(&file, &chunk)? {
            There::Nothing => counts.absent += 1,
            There::All if is_right(&file, &chunk, index, &mut buffer)? => counts.right += 1,
            There::All => {
                tracing::error!("bytes {} to {} are wrong", chunk.start, chunk.end);
                punch(&file, &chunk)?;
                counts.wrong += 1;
            }
            There::Part => {
                punch(&file, &chunk)?;
                counts.in_part += 1;
            }
        }
        start += size;
    }
    if counts.wrong + counts.in_part > 0 {
        file.sync_all().context("writing it to the disk")?;
    }
    Ok(counts)
}

/// File systems in memory have no other way than through their pages.
fn open_past_cache(path: &Path) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = match open(path, flags | OFlags::DIRECT, Mode::empty()) {
        Err(Errno::INVAL) => open(path, flags, Mode::empty()),
        opened => opened,
    };
    opened.map(File::from)
}

fn there(file: &File, range: &Range<u64>) -> Result<There, Errno> {
    let first = match seek(file, SeekFrom::Data(range.start)) {
        Ok(data) => data,
        Err(Errno::NXIO) => return Ok(There::Nothing),
        Err(errno) => return Err(errno),
    };
    if first >= range.end {
        return Ok(There::Nothing);
    }
    let hole = seek(file, SeekFrom::Hole(first))?;
    Ok(match first <= range.start && hole >= range.end {
        true => There::All,
        false => There::Part,
    })
}

/// Whether a chunk that is there is right. One that cannot be read is not.
fn is_right(
    file: &File,
    chunk: &Range<u64>,
    index: &Index,
    buffer: &mut AlignedBuffer,
) -> Result<bool> {
    let length = usize::try_from(chunk.end - chunk.start)?;
    let whole = buffer
        .get_mut(..length)
        .context("a chunk of another size")?;
    if let Err(error) = file.read_exact_at(whole, chunk.start) {
        tracing::error!("bytes {} to {}: {error}", chunk.start, chunk.end);
        return Ok(false);
    }
    let data = usize::try_from(index.size().min(chunk.end) - chunk.start)?;
    let (data, rest) = whole.split_at(data);
    let is_zero = rest.iter().all(|&byte| byte == 0);
    Ok(is_zero && index.verify(data, chunk.start).is_ok())
}

fn punch(file: &File, range: &Range<u64>) -> Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, flags, range.start, range.end - range.start)
        .context("punching what is wrong out of it")
}
