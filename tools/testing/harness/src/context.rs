// SPDX-License-Identifier: GPL-2.0
//! What a test gets to work with.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_protocol::{Device, Errno};

use crate::image::Image;
use crate::registry::{CacheFs, Module, Skip};
use crate::session::{Session, blobs_of};
use crate::settings::Settings;
use crate::sys;

/// The tag under which the tests' cache is known.
pub const TAG: &str = "selftest";

/// The world of one test.
pub struct Context {
    settings: Settings,
    /// A directory in memory that belongs to the test.
    pub work: PathBuf,
}

impl Context {
    /// The world of a test that may use `work`.
    pub fn new(settings: &Settings, work: PathBuf) -> Self {
        Self {
            settings: settings.clone(),
            work,
        }
    }

    /// Which module is under test.
    pub fn module(&self) -> Module {
        self.settings.module
    }

    /// The file system that the cache lies on.
    pub fn cache_fs(&self) -> CacheFs {
        self.settings.cache_fs
    }

    /// The device, with nothing set yet.
    pub fn device(&self) -> Result<Device> {
        Device::open().context("opening the device")
    }

    /// The device with a cache bound to it, in on-demand mode.
    pub fn bound_device(&self) -> Result<Arc<Device>> {
        let device = self.device()?;
        device
            .bind_ondemand(sys::CACHE.as_ref(), Some(TAG))
            .context("binding the cache")?;
        Ok(Arc::new(device))
    }

    /// A daemon that serves an image under the name `fsid`.
    pub fn session(&self, fsid: &str, image: &Image) -> Result<Session> {
        Ok(Session::new(self.bound_device()?, blobs_of(fsid, image)))
    }

    /// A mount point of the test.
    pub fn mount_point(&self, name: &str) -> PathBuf {
        self.work.join("mnt").join(name)
    }

    /// Replaces the module under test by the other one, or skips.
    pub fn load_other_module(&self) -> Result<()> {
        let Some(other) = &self.settings.other_module_path else {
            return Err(Skip("--other-module-path is not given".into()).into());
        };
        replace_module(other)
    }

    /// Puts the module under test back.
    pub fn load_own_module(&self) -> Result<()> {
        replace_module(&self.settings.module_path)
    }

    /// The images made by mkfs.erofs, by name; skips if there are none.
    pub fn made_images(&self) -> Result<Vec<MadeImage>> {
        self.made_images_in("")
    }

    /// The same, of those in a directory beside them.
    pub fn made_images_in(&self, name: &str) -> Result<Vec<MadeImage>> {
        let Some(dir) = &self.settings.images else {
            return Err(Skip("--images is not given".into()).into());
        };
        let dir = dir.join(name);
        let mut images = Vec::new();
        for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "img") {
                images.push(MadeImage::load(&path)?);
            }
        }
        ensure!(!images.is_empty(), "no image in {}", dir.display());
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }
}

fn replace_module(path: &Path) -> Result<()> {
    if sys::module_loaded() {
        sys::remove_unused_module(crate::task::soon())?;
    }
    sys::load_module(path)
}

/// An image made by mkfs.erofs on the host.
pub struct MadeImage {
    /// Name, and the file system id it is served under.
    pub name: String,
    /// The primary blob.
    pub primary: Vec<u8>,
    /// The data blob, where the image has one.
    pub blob: Option<Vec<u8>>,
    /// Checksum (SHA-256, in hex) and path of each file.
    pub files: Vec<(String, PathBuf)>,
}

impl MadeImage {
    fn load(path: &Path) -> Result<Self> {
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .context("a name that is no text")?;
        let list = path.with_extension("sha256");
        let list =
            fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
        let mut files = Vec::new();
        for line in list.lines() {
            // The format of sha256sum: 64 digits, two separators, the path.
            let (Some(sum), Some(file)) = (line.get(..64), line.get(66..)) else {
                bail!("not a line of sha256sum: {line}");
            };
            let file = file.trim_start_matches("./").trim_start_matches('/');
            files.push((sum.to_owned(), file.into()));
        }
        ensure!(!files.is_empty(), "{name} has an empty list of checksums");
        let blob = path.with_extension("blob");
        let blob = blob.exists().then(|| fs::read(&blob)).transpose()?;
        let primary = fs::read(path)?;
        Ok(Self {
            name: name.to_owned(),
            primary,
            blob,
            files,
        })
    }

    /// Key of the data blob.
    pub fn blob_key(&self) -> String {
        format!("{}.blob", self.name)
    }
}

/// That `result` failed, and with `errno`.
pub fn expect_errno<T>(result: Result<T, Errno>, errno: Errno, what: &str) -> Result<()> {
    match result {
        Ok(_) => bail!("{what}: succeeded, expected {errno:?}"),
        Err(seen) if seen == errno => Ok(()),
        Err(seen) => bail!("{what}: {seen:?}, expected {errno:?}"),
    }
}

/// That `result` is an I/O error of kind `errno`.
pub fn expect_io_errno<T>(result: std::io::Result<T>, errno: Errno, what: &str) -> Result<()> {
    let result = result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    expect_errno(result, errno, what)
}

/// That `result` failed for want of a cached object: with EIO where the object was waited for, with
/// ENOBUFS where it was known before that there is none. Which of them is a matter of timing.
pub fn expect_no_cache<T>(result: Result<T, Errno>, what: &str) -> Result<()> {
    match result {
        Ok(_) => bail!("{what}: succeeded, expected EIO or ENOBUFS"),
        Err(Errno::IO | Errno::NOBUFS) => Ok(()),
        Err(seen) => bail!("{what}: {seen:?}, expected EIO or ENOBUFS"),
    }
}
