// SPDX-License-Identifier: GPL-2.0
//! What is recorded and what checks it have in common: the images, and where all is mounted.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cachefiles_harness::image::{Builder, Image, pattern};
use cachefiles_harness::session::{Blobs, blobs_of};
use cachefiles_harness::sys;
use rustix::mount::{MountFlags, mount};

/// A file system that the cache lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FileSystem {
    /// With a journal.
    Ext4,
    /// Without one: it has to be repaired before it is mounted.
    Nojournal,
    /// With a log.
    Xfs,
}

impl FileSystem {
    /// What `mount` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Nojournal => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// The images, by the name that each is mounted under.
pub struct Images(Vec<(String, Image)>);

impl Images {
    /// Makes them: the same ones each time.
    pub fn make() -> Self {
        const KIB: usize = 1 << 10;
        let image = |number: u32| {
            let file = |index: u32, size: usize| pattern(1000 * number + index, size);
            let blob = format!("blob-{number}");
            let mut builder = Builder::new()
                .device(&blob)
                // On the blob, in chunks of 64 KiB; and on both, in turn.
                .chunked("chunks", file(1, 3072 * KIB), 16, &[Some(1)])
                .chunked("both", file(2, 1024 * KIB), 16, &[Some(0), Some(1)])
                .plain("large", file(3, 2048 * KIB));
            for index in 0..24 {
                let name = format!("small-{index}");
                builder = builder.plain(&name, file(10 + index, (index as usize + 1) * 5000));
            }
            (format!("image-{number}"), builder.build())
        };
        Self((0..3).map(image).collect())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Image)> {
        self.0.iter().map(|(fsid, image)| (fsid.as_str(), image))
    }

    /// What the daemon serves: the content of each blob.
    pub fn blobs(&self) -> Blobs {
        let parts = self.0.iter().map(|(fsid, image)| blobs_of(fsid, image));
        parts.flatten().collect()
    }
}

/// Where an image is mounted.
pub fn mount_point(fsid: &str) -> PathBuf {
    Path::new("/mnt").join(fsid)
}

/// What mounts an image on demand.
pub fn options(fsid: &str, image: &Image) -> Vec<u8> {
    let mut options = format!("fsid={fsid}").into_bytes();
    for (key, _) in &image.blobs {
        options.extend_from_slice(b",device=");
        options.extend_from_slice(key);
    }
    options
}

/// Mounts the file system of the cache.
pub fn mount_cache(device: &Path, fs: FileSystem, options: &str) -> Result<()> {
    std::fs::create_dir_all(sys::CACHE)?;
    let options = CString::new(options)?;
    mount(
        device,
        sys::CACHE,
        fs.name(),
        MountFlags::empty(),
        Some(options.as_c_str()),
    )
    .with_context(|| format!("mounting {} as {}", device.display(), fs.name()))
}
