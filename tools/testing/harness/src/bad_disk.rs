// SPDX-License-Identifier: GPL-2.0
//! A disk in memory that can have bad sectors, and that can be slow: for what fails, or ends, only
//! after it was begun.
//!
//! It is the kernel's `null_blk`, set up through configfs. A request that touches a bad sector
//! fails in its completion, which comes from a timer's interrupt and never from within the call
//! that began it.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, mount};

use crate::raw;
use crate::registry::Skip;
use crate::sys;

/// Where the kernel's objects can be made.
const CONFIGFS: &str = "/sys/kernel/config";
/// Where these disks are made.
const DISKS: &str = "/sys/kernel/config/nullb";
/// The name of ours there, and of its device.
const NAME: &str = "bad_disk";
/// The unit in which bad parts are given.
const SECTOR: u64 = 512;

/// How slow a disk is.
#[derive(Debug, Clone, Copy)]
pub enum Speed {
    /// As fast as memory, apart from the interrupt.
    Fast,
    /// One request after the other, each of at most 32 KiB and taking this long.
    Slow(Duration),
}

/// The disk. It stays until [`remove`], which the runner calls once nothing is mounted from it.
pub struct BadDisk {
    item: PathBuf,
    device: PathBuf,
}

impl BadDisk {
    /// Makes one, all zeros and all good. Skips on a kernel that cannot.
    pub fn new(mib: u32, speed: Speed) -> Result<Self> {
        prepare()?;
        let disk = Self {
            item: Path::new(DISKS).join(NAME),
            device: Path::new("/dev").join(NAME),
        };
        fs::create_dir(&disk.item).context("making a disk of null_blk")?;
        let (latency, depth) = match speed {
            Speed::Fast => (Duration::from_micros(10), 64),
            Speed::Slow(latency) => {
                disk.set("max_sectors", 64)?;
                (latency, 1)
            }
        };
        disk.set("size", mib)?;
        disk.set("blocksize", SECTOR)?;
        disk.set("memory_backed", 1)?;
        // 2: the completion is a timer's.
        disk.set("irqmode", 2)?;
        disk.set("completion_nsec", latency.as_nanos())?;
        disk.set("hw_queue_depth", depth)?;
        disk.set("submit_queues", 1)?;
        disk.set("power", 1)?;
        sys::wait_for("the disk", Duration::from_secs(5), || disk.device.exists())?;
        Ok(disk)
    }

    /// Its device node.
    pub fn path(&self) -> &Path {
        &self.device
    }

    /// Makes an ext4 on it, of blocks of 4 KiB, and mounts it over the cache disk: from there on it
    /// is where caches are made.
    pub fn mount_as_cache(&self) -> Result<()> {
        self.mount_as_cache_of(4096)
    }

    /// The same with blocks of so many bytes.
    pub fn mount_as_cache_of(&self, block: u32) -> Result<()> {
        self.mount_as_cache_with(block, &[])
    }

    /// The same with further options of mke2fs.
    pub fn mount_as_cache_with(&self, block: u32, options: &[&str]) -> Result<()> {
        // Into a file first: a slow disk would take each of its many small writes by itself.
        let image = Path::new("/tmp").join("bad-disk.img");
        let size = File::open(&self.device)?.seek(SeekFrom::End(0))?;
        File::create(&image)?.set_len(size)?;
        let made = make_ext4(&image, block, options).and_then(|()| self.copy_from(&image));
        fs::remove_file(&image)?;
        made?;
        mount(&self.device, sys::CACHE, c"ext4", MountFlags::empty(), None)
            .with_context(|| format!("mounting {}", self.device.display()))
    }

    /// What is in the range of the file, in bytes, can be neither read nor written from now on.
    pub fn spoil(&self, file: &Path, range: Range<u64>) -> Result<()> {
        self.mark(file, range, '+')
    }

    /// It can, again.
    pub fn mend(&self, file: &Path, range: Range<u64>) -> Result<()> {
        self.mark(file, range, '-')
    }

    fn mark(&self, file: &Path, range: Range<u64>, sign: char) -> Result<()> {
        let open = File::open(file).with_context(|| format!("opening {}", file.display()))?;
        let mut marked = 0;
        for part in raw::places(&open).context("where the file lies")? {
            let start = part.offset.max(range.start);
            let end = (part.offset + part.len).min(range.end);
            if start >= end {
                continue;
            }
            let first = (part.place + (start - part.offset)) / SECTOR;
            let last = first + (end - start).div_ceil(SECTOR) - 1;
            self.set("badblocks", format!("{sign}{first}-{last}"))?;
            marked += end - start;
        }
        ensure!(
            marked == range.end - range.start,
            "{} has blocks for {marked} bytes of {range:?}",
            file.display()
        );
        Ok(())
    }

    fn set(&self, attribute: &str, value: impl ToString) -> Result<()> {
        let value = value.to_string();
        fs::write(self.item.join(attribute), &value)
            .with_context(|| format!("setting {attribute} of the disk to {value}"))
    }

    /// Copies what is not zero, so that a slow disk has little to do.
    fn copy_from(&self, image: &Path) -> Result<()> {
        const PIECE: usize = 32 << 10;
        let image = File::open(image)?;
        let mut device = File::options().write(true).open(&self.device)?;
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        loop {
            let len = image.read_at(&mut piece, at)?;
            if len == 0 {
                break;
            }
            if piece[..len].iter().any(|&byte| byte != 0) {
                device.seek(SeekFrom::Start(at))?;
                device.write_all(&piece[..len])?;
            }
            at += len as u64;
        }
        device.sync_all().context("writing the file system")
    }
}

/// Loads the module and mounts configfs, where that has not been done.
fn prepare() -> Result<()> {
    if !Path::new(CONFIGFS).exists() {
        return Err(Skip("the kernel has no configfs".into()).into());
    }
    if sys::mounts(Path::new(CONFIGFS), Some("configfs"))?.is_empty() {
        mount("none", CONFIGFS, c"configfs", MountFlags::empty(), None)
            .context("mounting configfs")?;
    }
    if !Path::new(DISKS).exists() {
        // None of the disks that it would make by itself.
        let loaded = Command::new("/sbin/modprobe")
            .args(["null_blk", "nr_devices=0"])
            .output();
        if !loaded.is_ok_and(|output| output.status.success()) {
            return Err(Skip("the kernel has no null_blk".into()).into());
        }
    }
    Ok(())
}

fn make_ext4(image: &Path, block: u32, options: &[&str]) -> Result<()> {
    // By its path: busybox has a program of that name, too.
    let program = ["/usr/sbin/mke2fs", "/sbin/mke2fs"]
        .into_iter()
        .find(|program| fs::metadata(program).is_ok());
    let Some(program) = program else {
        return Err(Skip("there is no mke2fs".into()).into());
    };
    let output = Command::new(program)
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-b"])
        .arg(block.to_string())
        .args(options)
        .arg(image)
        .output()
        .context("calling mke2fs")?;
    ensure!(
        output.status.success(),
        "mke2fs: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Takes the disk away, if there is one. Nothing of it may be mounted.
pub fn remove() -> Result<()> {
    let item = Path::new(DISKS).join(NAME);
    if item.exists() {
        fs::remove_dir(&item).context("removing the disk")?;
    }
    Ok(())
}
