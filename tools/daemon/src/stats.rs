// SPDX-License-Identifier: GPL-2.0
//! Counters that survive SIGKILL: a page of a file, shared between worker and supervisor.
//!
//! Also the memory of which request ids were handed out, by which a READ that arrives a second time
//! is known, whichever worker had it the first time.

use std::fmt;
use std::fs::File;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};

/// Marks the file, and its version.
const MAGIC: u64 = u64::from_ne_bytes(*b"cfstats3");

/// How many request ids are remembered. Ids grow one by one, so two that share a slot are this far
/// apart.
const SLOTS: usize = 1 << 16;

/// The shared page.
#[derive(Debug)]
#[repr(C)]
pub struct Counters {
    magic: AtomicU64,
    /// OPENs answered with a size.
    pub opens: AtomicU64,
    /// OPENs answered with an error.
    pub opens_refused: AtomicU64,
    /// READs taken from the device.
    pub reads: AtomicU64,
    /// READs among them that some worker had taken before.
    pub reads_again: AtomicU64,
    /// READs completed.
    pub reads_completed: AtomicU64,
    /// READs whose readers got an error.
    pub reads_failed: AtomicU64,
    /// Bytes written into the cache.
    pub bytes: AtomicU64,
    /// CLOSEs taken from the device.
    pub closes: AtomicU64,
    /// Fetches that failed and were put back.
    pub retries: AtomicU64,
    /// Files removed from the cache to make room.
    pub culled: AtomicU64,
    /// Workers started.
    pub workers: AtomicU64,
    /// OPENs answered whose blobs are verified.
    pub opens_verified: AtomicU64,
    /// READs among those that failed whose data did not match its digest.
    pub reads_corrupt: AtomicU64,
    /// Bytes that READs asked for.
    pub bytes_asked: AtomicU64,
    seen: [AtomicU32; SLOTS],
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of Counters")]
pub struct Snapshot {
    pub opens: u64,
    pub opens_refused: u64,
    pub reads: u64,
    pub reads_again: u64,
    pub reads_completed: u64,
    pub reads_failed: u64,
    pub bytes: u64,
    pub closes: u64,
    pub retries: u64,
    pub culled: u64,
    pub workers: u64,
    pub opens_verified: u64,
    pub reads_corrupt: u64,
    pub bytes_asked: u64,
}

/// How many counters a file begins with, the magic number included.
const COUNTERS: usize = 15;

impl Snapshot {
    /// Reads the counters of a file that others write to; it need not be mapped for that.
    pub fn read(file: &File) -> Result<Self> {
        let mut bytes = [0; COUNTERS * 8];
        file.read_exact_at(&mut bytes, 0)
            .context("reading the counters")?;
        let mut words = bytes
            .chunks_exact(8)
            .map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()));
        let mut next = || words.next().unwrap_or_default();
        ensure!(next() == MAGIC, "this is not a file of counters");
        Ok(Self {
            opens: next(),
            opens_refused: next(),
            reads: next(),
            reads_again: next(),
            reads_completed: next(),
            reads_failed: next(),
            bytes: next(),
            closes: next(),
            retries: next(),
            culled: next(),
            workers: next(),
            opens_verified: next(),
            reads_corrupt: next(),
            bytes_asked: next(),
        })
    }
}

impl fmt::Display for Snapshot {
    /// One line for each counter: its name, a blank, its value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "opens {}", self.opens)?;
        writeln!(f, "opens_refused {}", self.opens_refused)?;
        writeln!(f, "reads {}", self.reads)?;
        writeln!(f, "reads_again {}", self.reads_again)?;
        writeln!(f, "reads_completed {}", self.reads_completed)?;
        writeln!(f, "reads_failed {}", self.reads_failed)?;
        writeln!(f, "bytes {}", self.bytes)?;
        writeln!(f, "closes {}", self.closes)?;
        writeln!(f, "retries {}", self.retries)?;
        writeln!(f, "culled {}", self.culled)?;
        writeln!(f, "workers {}", self.workers)?;
        writeln!(f, "opens_verified {}", self.opens_verified)?;
        writeln!(f, "reads_corrupt {}", self.reads_corrupt)?;
        write!(f, "bytes_asked {}", self.bytes_asked)
    }
}

/// The page, mapped.
///
/// # Invariants
///
/// `counters` points at a shared mapping of a whole `Counters` that lives until this is dropped.
#[derive(Debug)]
pub struct Stats {
    counters: NonNull<Counters>,
}

// SAFETY: all access to the mapping is through atomics, and unmapping needs no particular thread.
unsafe impl Send for Stats {}
// SAFETY: as above: `&Stats` gives nothing but `&Counters`, whose fields are atomics.
unsafe impl Sync for Stats {}

impl Deref for Stats {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        // SAFETY: by the invariant the mapping is there as long as `self`; all bit patterns are
        // valid for atomics, and nobody in this process writes it in another way.
        unsafe { self.counters.as_ref() }
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        // SAFETY: by the invariant this is the whole mapping, and no reference outlives `self`.
        // Unmapping fails only for ranges that are not mapped.
        let _ = unsafe { rustix::mm::munmap(self.counters.as_ptr().cast(), size_of::<Counters>()) };
    }
}

impl Stats {
    /// Sets up an empty page in `file`.
    pub fn create(file: &File) -> Result<Self> {
        file.set_len(0).context("emptying the counters")?;
        file.set_len(u64::try_from(size_of::<Counters>())?)
            .context("sizing the counters")?;
        let stats = Self::map(file)?;
        stats.magic.store(MAGIC, Ordering::Relaxed);
        Ok(stats)
    }

    /// Maps the page that [`Stats::create`] made, in this process or another.
    pub fn open(file: &File) -> Result<Self> {
        let length = file.metadata().context("looking at the counters")?.len();
        ensure!(
            usize::try_from(length)? == size_of::<Counters>(),
            "a file of {length} bytes is no file of counters"
        );
        let stats = Self::map(file)?;
        ensure!(
            stats.magic.load(Ordering::Relaxed) == MAGIC,
            "this is not a file of counters"
        );
        Ok(stats)
    }

    /// A file in memory, for counters that nobody else looks at or that get passed on by fd.
    pub fn memory_file() -> Result<File> {
        let fd: OwnedFd = rustix::fs::memfd_create("cachefiles-stats", MemfdFlags::CLOEXEC)?;
        Ok(File::from(fd))
    }

    /// Creates or empties a file for counters that others may read.
    pub fn create_file(path: &Path) -> Result<File> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path);
        file.with_context(|| format!("cannot create the file of counters {}", path.display()))
    }

    fn map(file: &File) -> Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                size_of::<Counters>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )
        };
        let counters = NonNull::new(address.context("mapping the counters")?.cast())
            .context("mapped at address 0")?;
        // INVARIANT: mapped above, whole and shared; mappings are aligned to pages.
        Ok(Self { counters })
    }
}

impl Counters {
    /// Counts a READ of so many bytes that was taken, and says whether it had been taken before.
    pub fn count_read(&self, msg_id: u32, bytes: u64) -> bool {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes_asked.fetch_add(bytes, Ordering::Relaxed);
        // An empty slot is 0, so ids are stored one higher.
        let mark = msg_id.wrapping_add(1);
        let slot = usize::try_from(msg_id).unwrap_or_default() % SLOTS;
        let again = self
            .seen
            .get(slot)
            .is_some_and(|slot| slot.swap(mark, Ordering::Relaxed) == mark);
        if again {
            self.reads_again.fetch_add(1, Ordering::Relaxed);
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_show_in_every_mapping_and_in_the_file() {
        let file = Stats::memory_file().unwrap();
        let first = Stats::create(&file).unwrap();
        let second = Stats::open(&file).unwrap();
        assert!(!first.count_read(5, 9));
        assert!(second.count_read(5, 9));
        assert!(!second.count_read(6, 9));
        second.bytes.fetch_add(4096, Ordering::Relaxed);
        first.workers.fetch_add(2, Ordering::Relaxed);
        let wanted = Snapshot {
            reads: 3,
            reads_again: 1,
            bytes: 4096,
            workers: 2,
            bytes_asked: 27,
            ..Snapshot::default()
        };
        assert_eq!(Snapshot::read(&file).unwrap(), wanted);
    }

    #[test]
    fn ids_a_whole_table_apart_are_different_reads() {
        let stats = Stats::create(&Stats::memory_file().unwrap()).unwrap();
        assert!(!stats.count_read(1, 9));
        assert!(!stats.count_read(1 + (1 << 16), 9));
        assert!(stats.count_read(1 + (1 << 16), 9));
        assert!(!stats.count_read(0, 9));
        assert!(!stats.count_read(u32::MAX - 1, 9));
    }

    #[test]
    fn other_files_are_refused() {
        let file = Stats::memory_file().unwrap();
        assert!(Stats::open(&file).is_err());
        file.set_len(u64::try_from(size_of::<Counters>()).unwrap())
            .unwrap();
        assert!(Stats::open(&file).is_err());
        assert!(Snapshot::read(&file).is_err());
    }
}
