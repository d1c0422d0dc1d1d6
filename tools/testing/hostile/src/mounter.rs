// SPDX-License-Identifier: GPL-2.0
//! Mounts come and go: a process that mounts one image after the other and unmounts it again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cachefiles_harness::sys;
use cachefiles_protocol::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::dice::Dice;
use crate::images::{DOMAINS, IMAGES, NAMES, fsid, own_names};
use crate::step_log::{StepLog, THREADS};

/// Exit status of a process that saw an error where there is to be none.
pub const CAUSELESS: i32 = 5;

/// How long a mount is tried to be taken down before it is detached.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the processes that use the cache are started with. They end when standard input does.
#[derive(Debug, Clone, clap::Args)]
pub struct Part {
    /// Seed of the round.
    #[arg(long)]
    pub seed: u64,
    /// This process's number in the round.
    #[arg(long)]
    pub number: u64,
    /// Where to leave the step log.
    #[arg(long)]
    pub step_log: PathBuf,
    /// Where things are mounted.
    #[arg(long)]
    pub mounts: PathBuf,
    /// Which errors nothing excuses. Without, any error is taken.
    #[arg(long, value_enum, value_name = "WHICH")]
    pub strict: Option<Strict>,
}

/// Errors that have no cause in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Strict {
    /// All.
    All,
    /// Those of compressed files may come of the death of another reader.
    Uncompressed,
}

impl Part {
    /// Choices and step log of this process's only thread.
    pub fn prepare(&self) -> Result<(Dice, StepLog)> {
        crate::actor::die_with_the_director()?;
        let step_log = StepLog::create(&self.step_log)?.into_iter().next();
        Ok((
            Dice::new(self.seed, self.number * THREADS as u64),
            step_log.context("no step log")?,
        ))
    }
}

/// Whether the director wants an end, waiting for that as long as given.
pub fn is_over(wait: Duration) -> bool {
    let stdin = std::io::stdin();
    // Nobody ever writes to it: it becomes readable when it is closed at the other end.
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let time = Timespec::try_from(wait).ok();
    !matches!(poll(&mut fds, time.as_ref()), Ok(0) | Err(Errno::INTR))
}

/// Where image `image` is mounted by the mounter of this number: readers learn from the name what
/// to expect.
pub fn mount_point(mounts: &Path, number: u64, image: usize) -> PathBuf {
    mounts.join(format!("{number}-{image}"))
}

/// Which image is mounted at a place made by [`mount_point`].
pub fn image_at(path: &Path) -> Option<usize> {
    path.file_name()?.to_str()?.split_once('-')?.1.parse().ok()
}

/// What is written behind `-o` for an image.
pub fn options(image: usize, name: usize, domain: Option<&str>) -> String {
    let fsid = fsid(image, name);
    match domain {
        None => format!("fsid={fsid}"),
        Some(domain) => format!("fsid={fsid},domain_id={domain}"),
    }
}

/// What to mount next. An image that is mounted, or was taken out of the tree while in use, cannot
/// be mounted once more: who is to see no error keeps to names of his own that are free.
struct Choice {
    strict: bool,
    names: Vec<usize>,
    spent: HashSet<(usize, usize)>,
}

impl Choice {
    fn new(part: &Part) -> Self {
        let strict = part.strict.is_some();
        let names = if strict {
            own_names(part.number).collect()
        } else {
            (0..NAMES).collect()
        };
        Self {
            strict,
            names,
            spent: HashSet::new(),
        }
    }

    /// An image, and a name of it.
    fn make(&self, dice: &mut Dice) -> Option<(usize, usize)> {
        let (image, name) = (dice.below(IMAGES), dice.pick(&self.names));
        (!self.spent.contains(&(image, name))).then_some((image, name))
    }

    /// It may be in use for longer than its mount is there.
    fn is_spent(&mut self, choice: (usize, usize)) {
        if self.strict {
            self.spent.insert(choice);
        }
    }
}

/// Mounts and unmounts until the end. The exit status.
pub fn play(part: &Part) -> Result<i32> {
    let (mut dice, mut step_log) = part.prepare()?;
    let mut choice = Choice::new(part);
    for image in 0..IMAGES {
        std::fs::create_dir_all(mount_point(&part.mounts, part.number, image))?;
    }
    while !is_over(dice.pause(20)) {
        let Some((image, name)) = choice.make(&mut dice) else {
            continue;
        };
        let point = mount_point(&part.mounts, part.number, image);
        let domain = DOMAINS[dice.below(DOMAINS.len())];
        let options = options(image, name, domain);
        step_log.begin(&format!("mount {options}"));
        let mounted = sys::mount_erofs(&point, options.as_bytes());
        step_log.end(&format!("{mounted:?}"), mounted.is_ok());
        if let Err(errno) = mounted {
            if part.strict.is_some() {
                eprintln!("mount {options}: {errno}");
                return Ok(CAUSELESS);
            }
            continue;
        }
        let stay = match dice.below(10) {
            0 => Duration::from_secs(60),
            1..4 => dice.pause(20),
            _ => dice.pause(700),
        };
        is_over(stay);
        if dice.chance(10) {
            // The page cache, and with it what readers see without asking for it.
            let _ = std::fs::write("/proc/sys/vm/drop_caches", dice.pick(&["1", "3"]));
        }
        let lazily = dice.chance(30);
        step_log.begin(&format!("unmount, lazily {lazily}"));
        let unmounted = unmount(&point, lazily);
        step_log.end(&format!("{unmounted:?}"), unmounted.is_ok());
        if !unmounted? {
            choice.is_spent((image, name));
        }
    }
    Ok(0)
}

/// Whether it is really gone, and not just out of the tree.
fn unmount(point: &Path, lazily: bool) -> Result<bool> {
    let started = Instant::now();
    while !lazily && started.elapsed() < PATIENCE {
        if sys::unmount_patiently(point, Duration::ZERO).is_ok() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Readers have files open: it goes when they are done.
    sys::detach(point).with_context(|| format!("detaching {}", point.display()))?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_read_off_its_mount_point() {
        let point = mount_point("/x".as_ref(), 5, 2);
        assert_eq!(image_at(&point), Some(2));
        assert_eq!(image_at("/x/other".as_ref()), None);
    }
}
