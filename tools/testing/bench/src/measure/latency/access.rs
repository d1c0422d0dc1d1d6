// SPDX-License-Identifier: GPL-2.0
//! The ways in which an image is read. Each returns the time that it took, and fails where one byte
//! is not what it has to be.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use cachefiles_harness::image::BLOCK;
use memmap2::MmapOptions;
use rustix::fs::{Advice, fadvise};

use super::content;

/// Bytes that a `read` asks for, where a program reads in sequence.
const READ: usize = 64 << 10;
/// Bytes that are announced at once: a window of the default readahead.
const WINDOW: usize = 128 << 10;
/// Pages that all random readers together read.
const RANDOM: usize = 64;
/// Far from each other, each once: this and the number of pages have no divisor.
const STRIDE: usize = 557;

/// One of them.
#[derive(Clone, Copy)]
pub struct Access {
    /// In the table.
    pub name: &'static str,
    /// Does it, below the directory where the image is mounted.
    pub run: fn(&Path) -> Result<Duration>,
}

/// All of them.
pub const ALL: [Access; 7] = [
    Access {
        name: "sequential",
        run: sequential,
    },
    Access {
        name: "fadvise",
        run: announced,
    },
    Access {
        name: "populate",
        run: populated,
    },
    Access {
        name: "random, 1 reader",
        run: |root| random(root, 1),
    },
    Access {
        name: "random, 16 readers",
        run: |root| random(root, 16),
    },
    Access {
        name: "exec",
        run: executed,
    },
    Access {
        name: "tree",
        run: tree,
    },
];

fn large(root: &Path) -> Result<(File, Vec<u8>)> {
    Ok((File::open(root.join(content::LARGE))?, content::large()))
}

fn read_all(file: &File, size: usize) -> Result<Vec<u8>> {
    let mut data = vec![0; size];
    for (number, part) in data.chunks_mut(READ).enumerate() {
        file.read_exact_at(part, (number * READ) as u64)?;
    }
    Ok(data)
}

/// `read` of 64 KiB after the other.
fn sequential(root: &Path) -> Result<Duration> {
    let (file, expected) = large(root)?;
    let start = Instant::now();
    let data = read_all(&file, expected.len())?;
    let time = start.elapsed();
    ensure!(data == expected, "wrong data");
    Ok(time)
}

/// `posix_fadvise(WILLNEED)` of all, window by window, and then the same.
fn announced(root: &Path) -> Result<Duration> {
    let (file, expected) = large(root)?;
    let start = Instant::now();
    for at in (0..expected.len()).step_by(WINDOW) {
        let length = std::num::NonZeroU64::new(WINDOW as u64);
        fadvise(&file, at as u64, length, Advice::WillNeed)?;
    }
    let data = read_all(&file, expected.len())?;
    let time = start.elapsed();
    ensure!(data == expected, "wrong data");
    Ok(time)
}

/// `mmap` with `MAP_POPULATE`.
fn populated(root: &Path) -> Result<Duration> {
    let (file, expected) = large(root)?;
    let start = Instant::now();
    // SAFETY: A file of an EROFS image never changes, and is as long as it says.
    let mapped = unsafe { MmapOptions::new().populate().map(&file) }?;
    let time = start.elapsed();
    ensure!(*mapped == *expected, "wrong data");
    Ok(time)
}

/// The pages that the random readers read, of a file of so many bytes.
pub fn random_pages(size: usize) -> impl Iterator<Item = usize> {
    (0..RANDOM).map(move |number| number * STRIDE % (size / BLOCK))
}

/// Pages here and there, `readers` at a time, of a file that is read without readahead.
fn random(root: &Path, readers: usize) -> Result<Duration> {
    let (file, expected) = large(root)?;
    fadvise(&file, 0, None, Advice::Random)?;
    let (file, expected) = (Arc::new(file), Arc::new(expected));
    let barrier = Arc::new(Barrier::new(readers + 1));
    let threads: Vec<_> = (0..readers)
        .map(|reader| {
            let (file, expected, barrier) = (
                Arc::clone(&file),
                Arc::clone(&expected),
                Arc::clone(&barrier),
            );
            std::thread::spawn(move || -> Result<()> {
                barrier.wait();
                for page in random_pages(expected.len()).skip(reader).step_by(readers) {
                    let mut data = [0; BLOCK];
                    file.read_exact_at(&mut data, (page * BLOCK) as u64)?;
                    ensure!(data == expected[page * BLOCK..][..BLOCK], "wrong data");
                }
                Ok(())
            })
        })
        .collect();
    barrier.wait();
    let start = Instant::now();
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a reader panicked"))??;
    }
    Ok(start.elapsed())
}

/// A program that is linked with 30 libraries is started, and uses a part of each.
fn executed(root: &Path) -> Result<Duration> {
    let program = root.join(content::PROGRAM);
    let start = Instant::now();
    let status = Command::new(program.join("ld.so"))
        .arg("--library-path")
        .arg(&program)
        .arg(program.join("main"))
        .status()
        .context("starting the program")?;
    let time = start.elapsed();
    ensure!(
        status.success(),
        "the program read something else: {status}"
    );
    Ok(time)
}

/// All small files are read, as `tar` does: each directory, and each file from its begin.
fn tree(root: &Path) -> Result<Duration> {
    let root = root.join(content::TREE);
    let mut found = Vec::new();
    let start = Instant::now();
    let mut directories: Vec<_> = list(&root)?;
    directories.sort();
    for directory in directories {
        let mut files = list(&directory)?;
        files.sort();
        for path in files {
            let file = File::open(&path)?;
            let size = usize::try_from(file.metadata()?.len())?;
            found.push((path, read_all(&file, size)?));
        }
    }
    let time = start.elapsed();
    let mut expected = content::small();
    for (path, data) in &found {
        let (name, content) = expected.next().context("more files than there were")?;
        ensure!(
            path.ends_with(&name) && *data == content,
            "wrong data in {name}"
        );
    }
    ensure!(found.len() == content::SMALL, "{} files", found.len());
    Ok(time)
}

fn list(directory: &Path) -> Result<Vec<std::path::PathBuf>> {
    fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect()
}
