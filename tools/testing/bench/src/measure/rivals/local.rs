// SPDX-License-Identifier: GPL-2.0
//! What the rivals share: the bytes of a server that is far away, and a file here that holds those
//! of them that were fetched.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::image::BLOCK;
use cachefiles_harness::sys;
use cachefiles_harness::task::soon;
use cachefiles_protocol::AlignedBuffer;

/// Takes the bytes that were asked for, and sends them to whoever asked.
type Reply = Box<dyn FnOnce(io::Result<&[u8]>) + Send>;

/// A request that the server will have answered.
struct Fetch {
    due: Instant,
    range: Range<usize>,
    reply: Reply,
}

/// Which blocks the file has.
struct Present {
    blocks: Vec<bool>,
    missing: usize,
}

/// What the thread that fetches has of it.
struct Shared {
    source: Vec<u8>,
    file: File,
    present: Mutex<Present>,
    /// Fetches begun, answered, and put in the file.
    counts: [AtomicUsize; 3],
    /// The largest number of them that were begun and not answered.
    most: AtomicUsize,
}

/// A cache in front of such a server. Missing bytes are asked for as soon as they are wanted, any
/// number at once; they go to the reader first and into the file then.
pub struct Local {
    shared: Arc<Shared>,
    fetches: Sender<Fetch>,
    latency: Duration,
}

impl Local {
    /// Makes the file, which is empty, for a server that has `source` and answers after `latency`.
    pub fn new(source: Vec<u8>, path: &Path, latency: Duration) -> Result<Self> {
        ensure!(source.len() % BLOCK == 0, "not a number of whole blocks");
        // Who reads has a page cache. As in cachefiles, the data is not in memory twice.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .custom_flags(libc::O_DIRECT)
            .open(path)
            .with_context(|| format!("making {}", path.display()))?;
        file.set_len(source.len() as u64)?;
        let missing = source.len() / BLOCK;
        let shared = Arc::new(Shared {
            source,
            file,
            present: Mutex::new(Present {
                blocks: vec![false; missing],
                missing,
            }),
            counts: [const { AtomicUsize::new(0) }; 3],
            most: AtomicUsize::new(0),
        });
        let (fetches, queue) = channel();
        let fetching = Arc::clone(&shared);
        std::thread::spawn(move || fetching.fetch_all(&queue));
        Ok(Self {
            shared,
            fetches,
            latency,
        })
    }

    /// How many bytes the server has.
    pub fn size(&self) -> usize {
        self.shared.source.len()
    }

    /// Gives `reply` the bytes from `start` on, or an error: at once and on this thread if they are
    /// here, else when the server has answered. Behind the end there are none.
    pub fn read(
        &self,
        start: u64,
        length: usize,
        reply: impl FnOnce(io::Result<&[u8]>) + Send + 'static,
    ) {
        let start = usize::try_from(start).map_or(self.size(), |start| start.min(self.size()));
        let range = start..start.saturating_add(length).min(self.size());
        if self.shared.has(&range) {
            return self.shared.read_here(range, reply);
        }
        let [begun, answered, _] = &self.shared.counts;
        let begun = begun.fetch_add(1, Ordering::SeqCst) + 1;
        let in_flight = begun.saturating_sub(answered.load(Ordering::SeqCst));
        self.shared.most.fetch_max(in_flight, Ordering::SeqCst);
        let fetch = Fetch {
            due: Instant::now() + self.latency,
            range,
            reply: Box::new(reply),
        };
        self.fetches
            .send(fetch)
            .expect("the thread that fetches ends when this is dropped");
    }

    /// Whether nothing has to be fetched any more.
    pub fn is_complete(&self) -> bool {
        self.shared.present().missing == 0
    }

    /// Waits until what was fetched is in the file. Returns how many fetches there were at most at
    /// a time, and in all.
    pub fn settle(&self) -> Result<(usize, usize)> {
        let [begun, _, kept] = self.shared.counts.each_ref();
        sys::wait_for("what was fetched to be kept", soon(), || {
            begun.load(Ordering::SeqCst) == kept.load(Ordering::SeqCst)
        })?;
        let most = self.shared.most.load(Ordering::SeqCst);
        Ok((most, begun.load(Ordering::SeqCst)))
    }
}

/// The blocks in which a range lies.
fn blocks(range: &Range<usize>) -> Range<usize> {
    range.start / BLOCK..range.end.div_ceil(BLOCK)
}

impl Shared {
    fn present(&self) -> std::sync::MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, range: &Range<usize>) -> bool {
        let present = self.present();
        present.missing == 0 || present.blocks[blocks(range)].iter().all(|is| *is)
    }

    /// Reads from the file, into memory that this thread has for it.
    fn read_here(&self, range: Range<usize>, reply: impl FnOnce(io::Result<&[u8]>)) {
        thread_local! {
            static BUFFER: RefCell<AlignedBuffer> = RefCell::new(AlignedBuffer::new(1 << 17));
        }
        BUFFER.with_borrow_mut(|buffer| {
            let whole = blocks(&range);
            let (start, length) = (whole.start * BLOCK, whole.len() * BLOCK);
            if buffer.len() < length {
                *buffer = AlignedBuffer::new(length);
            }
            let part = range.start - start..range.end.max(range.start) - start;
            let read = self
                .file
                .read_exact_at(&mut buffer[..length], start as u64)
                .map(|()| &buffer[part]);
            reply(read);
        });
    }

    fn fetch_all(&self, queue: &Receiver<Fetch>) {
        let [_, answered, kept] = &self.counts;
        // Each takes the same time: they are due in the order in which they were begun.
        for fetch in queue {
            std::thread::sleep(fetch.due.saturating_duration_since(Instant::now()));
            answered.fetch_add(1, Ordering::SeqCst);
            (fetch.reply)(Ok(&self.source[fetch.range.clone()]));
            // There is one processor, and who waited for that has one of its own elsewhere.
            std::thread::yield_now();
            match self.keep(&blocks(&fetch.range)) {
                Ok(()) => _ = kept.fetch_add(1, Ordering::SeqCst),
                Err(error) => eprintln!("# what was fetched can't be kept: {error}"),
            }
        }
    }

    fn keep(&self, whole: &Range<usize>) -> io::Result<()> {
        let bytes = &self.source[whole.start * BLOCK..whole.end * BLOCK];
        let mut buffer = AlignedBuffer::new(bytes.len());
        buffer.copy_from_slice(bytes);
        let start = (whole.start * BLOCK) as u64;
        self.file.write_all_at(&buffer, start)?;
        let mut present = self.present();
        for block in whole.clone() {
            if !std::mem::replace(&mut present.blocks[block], true) {
                present.missing -= 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(local: &Local, start: u64, length: usize) -> Vec<u8> {
        let (sender, receiver) = channel();
        local.read(start, length, move |bytes| {
            let _ = sender.send(bytes.map(<[u8]>::to_vec));
        });
        receiver.recv().unwrap().unwrap()
    }

    #[test]
    fn bytes_come_from_the_server_once_and_from_the_file_then() {
        let directory = tempfile::tempdir().unwrap();
        let source: Vec<u8> = (0..4 * BLOCK).map(|at| (at / 7) as u8).collect();
        let path = directory.path().join("cache");
        let latency = Duration::from_millis(30);
        let local = Local::new(source.clone(), &path, latency).unwrap();
        let begun = Instant::now();
        assert_eq!(read(&local, 4097, 5000), source[4097..][..5000]);
        assert!(begun.elapsed() >= latency);
        assert_eq!(local.settle().unwrap(), (1, 1));
        // Blocks 1 and 2 are here now, and nothing else.
        assert_eq!(
            std::fs::read(&path).unwrap()[BLOCK..3 * BLOCK],
            source[BLOCK..3 * BLOCK]
        );
        assert_eq!(read(&local, 8190, 10), source[8190..][..10]);
        assert_eq!(local.settle().unwrap(), (1, 1));
        assert!(!local.is_complete());
        assert_eq!(read(&local, 0, 4 * BLOCK), source);
        assert_eq!(local.settle().unwrap(), (1, 2));
        assert!(local.is_complete());
        assert_eq!(std::fs::read(&path).unwrap(), source);
        assert_eq!(read(&local, 3, 4 * BLOCK), source[3..]);
        assert!(read(&local, 1 << 40, 10).is_empty());
        assert_eq!(local.settle().unwrap(), (1, 2));
    }

    #[test]
    fn the_server_answers_many_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let latency = Duration::from_millis(300);
        let path = directory.path().join("cache");
        let local = Local::new(vec![7; 8 * BLOCK], &path, latency).unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for block in 0..8 {
                let local = &local;
                scope.spawn(move || assert_eq!(read(local, block * 4096, 4096), [7; 4096]));
            }
        });
        assert!(begun.elapsed() < 4 * latency);
        assert_eq!(local.settle().unwrap(), (8, 8));
    }
}
