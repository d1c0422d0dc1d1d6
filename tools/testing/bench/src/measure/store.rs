// SPDX-License-Identifier: GPL-2.0
//! What lies under the cache: the cheapest that the module accepts (overlayfs on tmpfs), ext4 on a
//! loop device in memory, and ext4 on the virtio disk.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::registry::CacheFs;
use cachefiles_harness::{sys, task::soon};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

/// Where a memory-backed store keeps its parts.
const MEMORY: &str = "/memory";

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    /// overlayfs on tmpfs.
    Overlay,
    /// ext4 on a loop device on tmpfs.
    Ram,
    /// ext4 on the virtio disk.
    Virtio,
}

impl Store {
    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Ram => "ram",
            Self::Virtio => "virtio",
        }
    }

    /// Mounts it, empty, where the cache is.
    pub fn set_up(self, disk: &Path, image: &Path) -> Result<()> {
        fs::create_dir_all(sys::CACHE)?;
        match self {
            Self::Virtio => {
                sys::mount_cache(disk, CacheFs::Ext4)?;
                sys::empty_cache()
            }
            Self::Overlay => {
                mount_memory()?;
                for part in ["lower", "upper", "work"] {
                    fs::create_dir(Path::new(MEMORY).join(part))?;
                }
                mount(
                    "none",
                    sys::CACHE,
                    c"overlay",
                    MountFlags::empty(),
                    Some(c"lowerdir=/memory/lower,upperdir=/memory/upper,workdir=/memory/work"),
                )
                .context("mounting overlayfs")
            }
            Self::Ram => {
                mount_memory()?;
                let file = Path::new(MEMORY).join("disk");
                copy_sparse(image, &file)?;
                let status = Command::new("losetup")
                    .args(["/dev/loop0"])
                    .arg(&file)
                    .status()?;
                ensure!(status.success(), "losetup failed");
                sys::mount_cache("/dev/loop0".as_ref(), CacheFs::Ext4)
            }
        }
    }

    /// Takes it away again.
    pub fn tear_down(self) -> Result<()> {
        sys::unmount_patiently(sys::CACHE.as_ref(), soon())?;
        if self == Self::Ram {
            let status = Command::new("losetup")
                .args(["-d", "/dev/loop0"])
                .status()?;
            ensure!(status.success(), "losetup -d failed");
        }
        if self != Self::Virtio {
            sys::unmount_patiently(MEMORY.as_ref(), soon())?;
        }
        Ok(())
    }
}

fn mount_memory() -> Result<()> {
    fs::create_dir_all(MEMORY)?;
    mount(
        "none",
        MEMORY,
        c"tmpfs",
        MountFlags::empty(),
        Some(c"size=90%"),
    )
    .context("mounting tmpfs")
}

/// Copies the parts of a file that are not holes.
fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let source = File::open(from).with_context(|| format!("opening {}", from.display()))?;
    let target = File::create(to)?;
    let size = source.metadata()?.len();
    target.set_len(size)?;
    let mut buffer = vec![0; 1 << 16];
    let mut at = 0;
    while at < size {
        let start = match seek(&source, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            other => other?,
        };
        at = seek(&source, SeekFrom::Hole(start))?;
        let mut offset = start;
        while offset < at {
            let length = buffer.len().min(usize::try_from(at - offset)?);
            source.read_exact_at(&mut buffer[..length], offset)?;
            target.write_all_at(&buffer[..length], offset)?;
            offset += length as u64;
        }
    }
    Ok(())
}
