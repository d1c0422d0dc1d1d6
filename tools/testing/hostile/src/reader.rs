// SPDX-License-Identifier: GPL-2.0
//! Readers: processes that read what is mounted, in every way there is. Any byte that they get has
//! to be the right one. Errors are taken, but in the rounds in which nothing could have caused
//! them.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use cachefiles_harness::{raw, sys};
use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::dice::Dice;
use crate::images::{Images, is_packed, is_sure};
use crate::mounter::{CAUSELESS, Part, Strict, image_at, is_over};

/// There where the kernel checks the order of its locks. With images on demand it complains of page
/// faults that fail, with either module: EROFS reads with the `invalidate_lock` of a mapping held,
/// for which the inode of a cache file is locked; ext4 pins a daemon's memory with such an inode
/// locked, under `mmap_lock`; and a page that could not be read is looked at again with `mmap_lock`
/// held, under `invalidate_lock`. Nobody ever takes that of EROFS for writing, so nobody can wait
/// there: but after its first complaint lockdep is off.
const LOCKDEP: &str = "/proc/lockdep";

/// Exit status of a reader that was given a wrong byte.
pub const WRONG: i32 = 3;

/// Reads until the end, or a wrong byte.
pub fn play(part: &Part) -> Result<i32> {
    let (mut dice, mut step_log) = part.prepare()?;
    let images = Images::make();
    let lockdep = Path::new(LOCKDEP).exists();
    while !is_over(Duration::ZERO) {
        let Some((path, image)) = somewhere(&part.mounts, &mut dice) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let Some(image) = images.image(image) else {
            continue;
        };
        let names: Vec<&String> = image.files.keys().collect();
        let name = dice.pick(&names);
        let expected = image.files.get(name).map(Vec::as_slice);
        let mut way = Way::choose(&mut dice, expected.map_or(0, <[u8]>::len));
        let strict = part
            .strict
            .is_some_and(|which| which == Strict::All || !is_packed(name));
        // Whose error is a signal.
        let unsure = lockdep || (part.strict.is_some() && !strict);
        if unsure && matches!(way, Way::Mapped) {
            way = Way::Whole;
        }
        step_log.begin(&format!("{way:?} {} {name}", path.display()));
        match way.read(&path.join(name)) {
            Ok(seen) => {
                step_log.end(&format!("{} bytes", seen.len()), true);
                let wrong = expected.and_then(|expected| way.compare(&seen, expected));
                if let Some(wrong) = wrong.filter(|_| is_sure(name)) {
                    step_log.append(&wrong);
                    eprintln!("wrong bytes: {} {name} ({way:?}): {wrong}", path.display());
                    return Ok(WRONG);
                }
            }
            Err(error) => {
                step_log.end(&error.to_string(), false);
                if strict && !way.excuses(&error) {
                    eprintln!("no cause: {} {name} ({way:?}): {error}", path.display());
                    return Ok(CAUSELESS);
                }
                std::thread::sleep(dice.pause(3));
            }
        }
    }
    Ok(0)
}

/// One of the places where something is mounted at the moment.
fn somewhere(mounts: &Path, dice: &mut Dice) -> Option<(PathBuf, usize)> {
    let places = sys::mounts(mounts, Some("erofs")).ok()?;
    let place = places.get(dice.below(places.len()))?.clone();
    let image = image_at(&place)?;
    Some((place, image))
}

/// A way to read a file, or a part of it.
#[derive(Debug, Clone, Copy)]
enum Way {
    Whole,
    Part {
        off: u64,
        len: usize,
    },
    /// As `Part`, past the page cache where that can be.
    Direct {
        off: u64,
        len: usize,
    },
    /// By page faults.
    Mapped,
    /// Through a pipe.
    Sent {
        len: usize,
    },
    /// After it was dropped from the page cache, and asked for in advance.
    Advised,
}

impl Way {
    fn choose(dice: &mut Dice, length: usize) -> Self {
        let off = dice.below(length + 1);
        match dice.below(12) {
            0..3 => Self::Whole,
            3 => Self::Direct {
                off: (off & !4095) as u64,
                len: 4096,
            },
            4 => Self::Mapped,
            5 => Self::Sent {
                len: 1 + dice.below(40000),
            },
            6..8 => Self::Advised,
            _ => Self::Part {
                off: off as u64,
                len: 1 + dice.below(20000),
            },
        }
    }

    fn read(self, path: &Path) -> std::io::Result<Vec<u8>> {
        let direct = matches!(self, Self::Direct { .. });
        let file = File::options()
            .read(true)
            .custom_flags(if direct { libc::O_DIRECT } else { 0 })
            .open(path)?;
        match self {
            Self::Whole => whole(&file),
            Self::Part { off, len } | Self::Direct { off, len } => {
                let mut bytes = vec![0; len];
                let length = file.read_at(&mut bytes, off)?;
                bytes.truncate(length);
                Ok(bytes)
            }
            Self::Mapped => {
                let mut bytes = vec![0; file.metadata()?.len() as usize];
                // Where a page cannot be had this process dies of SIGBUS, and another takes its
                // place.
                raw::copy_from_mapping(&file, &mut bytes)?;
                Ok(bytes)
            }
            Self::Sent { len } => {
                let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
                let sent = rustix::fs::sendfile(&into, &file, None, len)?;
                let mut bytes = vec![0; sent];
                let length = rustix::io::read(&out, &mut bytes)?;
                bytes.truncate(length);
                Ok(bytes)
            }
            Self::Advised => {
                for advice in [Advice::DontNeed, Advice::WillNeed] {
                    fadvise(&file, 0, None, advice)?;
                }
                whole(&file)
            }
        }
    }

    /// Whether an error comes of the way, and not of the data: the mount is gone, an image on
    /// demand has no direct reads, the pipe is full.
    fn excuses(self, error: &std::io::Error) -> bool {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT) => true,
            Some(Errno::INVAL) => matches!(self, Self::Direct { .. }),
            Some(Errno::AGAIN) => matches!(self, Self::Sent { .. }),
            _ => false,
        }
    }

    /// What is wrong with what was read.
    fn compare(self, seen: &[u8], expected: &[u8]) -> Option<String> {
        let off = match self {
            Self::Part { off, .. } | Self::Direct { off, .. } => off as usize,
            _ => 0,
        };
        let expected = expected.get(off..).unwrap_or_default();
        let whole = matches!(self, Self::Whole | Self::Mapped | Self::Advised);
        if seen.len() > expected.len() || (whole && seen.len() != expected.len()) {
            return Some(format!("{} bytes, not {}", seen.len(), expected.len()));
        }
        let place = seen.iter().zip(expected).position(|(a, b)| a != b)?;
        let block = seen.get(place..).unwrap_or_default();
        let zeros = block.iter().take(512).all(|&byte| byte == 0);
        Some(format!(
            "differs at {}{}",
            off + place,
            if zeros { ", zeros" } else { "" }
        ))
    }
}

/// To the end, in pieces of many sizes.
fn whole(file: &File) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; file.metadata()?.len() as usize + 1];
    let mut done = 0;
    loop {
        let piece = bytes.get_mut(done..).unwrap_or_default();
        match file.read_at(piece, done as u64) {
            Ok(0) => break,
            Ok(length) => done += length,
            Err(error) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}
