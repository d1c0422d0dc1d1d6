// SPDX-License-Identifier: GPL-2.0
//! A client of a network file system with a cache in the original mode: 9p, and the server's side
//! of the same directory to look at it and to change it.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::share::{self, CACHED, Counters, NetMount, SERVER, SHARE, UNCACHED};
use cachefiles_harness::sys;
use cachefiles_harness::task::soon;
use cachefiles_protocol::Device;

use crate::observe::attribute;
use crate::world::device_with;

/// What brings the usual cache up.
const USUAL: [&str; 3] = ["dir /cache", "tag selftest", "bind"];

/// The client, its cache and its server.
pub struct Net {
    device: Option<Device>,
    server: NetMount,
    client: Option<NetMount>,
    point: PathBuf,
    served: Cell<u64>,
}

impl Net {
    /// A cache that is brought up by these commands, and an empty directory on the server.
    pub fn new(ctx: &Context, commands: &[&str]) -> Result<Self> {
        let server = NetMount::share(SERVER, &ctx.mount_point("server"), UNCACHED)?;
        for entry in fs::read_dir(server.path())? {
            let path = entry?.path();
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        let device = Some(device_with(ctx, commands)?);
        let point = ctx.mount_point("client");
        Ok(Self {
            device,
            server,
            client: None,
            point,
            served: Cell::new(0),
        })
    }

    /// The same with a cache of the usual name and limits.
    pub fn usual(ctx: &Context) -> Result<Self> {
        Self::new(ctx, &USUAL)
    }

    /// Who holds the cache.
    pub fn device(&self) -> Result<&Device> {
        self.device.as_ref().context("the device is closed")
    }

    /// Lets the cache go.
    pub fn close_device(&mut self) {
        self.device = None;
    }

    /// Brings the usual cache up again.
    pub fn bind_again(&mut self, ctx: &Context) -> Result<()> {
        self.device = Some(device_with(ctx, &USUAL)?);
        Ok(())
    }

    /// Mounts the client.
    pub fn mount(&mut self) -> Result<()> {
        self.client = Some(NetMount::share(SHARE, &self.point, CACHED)?);
        Ok(())
    }

    /// Unmounts it, and waits until fscache has let go of everything.
    pub fn unmount(&mut self) -> Result<()> {
        if let Some(client) = self.client.take() {
            client.unmount()?;
        }
        share::wait_for_no_cookies()
    }

    /// A file as the client has it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    /// Puts a file on the server, behind the client's back. The server makes the version of a file
    /// of its size and the second of its last change: so each file gets a second of its own, in the
    /// past.
    pub fn serve(&self, name: &str, data: &[u8]) -> Result<()> {
        fs::write(self.server.join(name), data).with_context(|| format!("serving {name}"))?;
        self.served.set(self.served.get() + 1);
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000 + self.served.get());
        let file = File::options().write(true).open(self.server.join(name))?;
        file.set_modified(time)
            .context("changing the time of a file")
    }

    /// A file as the server has it.
    pub fn served(&self, name: &str) -> Result<Vec<u8>> {
        fs::read(self.server.join(name)).with_context(|| format!("looking at {name}"))
    }

    /// Reads a file through the client.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let data = fs::read(self.file(name)).with_context(|| format!("reading {name}"))?;
        settle()?;
        Ok(data)
    }

    /// A new file of the client.
    pub fn create(&self, name: &str, data: &[u8]) -> Result<()> {
        let file = File::create(self.file(name)).with_context(|| format!("creating {name}"))?;
        sys::wait_for_old_netfs(soon())?;
        file.write_all_at(data, 0)
            .with_context(|| format!("creating {name}"))
    }

    /// The same, with the size given once the cache has looked the file up: it may do so before or
    /// after.
    pub fn create_looked_up(&self, name: &str, data: &[u8]) -> Result<()> {
        let file = File::create(self.file(name)).with_context(|| format!("creating {name}"))?;
        sys::wait_for("the look-up", soon(), || {
            sys::lookups_done().unwrap_or(false)
        })?;
        file.write_all_at(data, 0)
            .with_context(|| format!("writing {name}"))
    }

    fn open(&self, name: &str) -> Result<File> {
        let file = File::options().read(true).write(true).open(self.file(name));
        file.with_context(|| format!("opening {name}"))
    }

    /// Writes into a file through the client.
    pub fn write_at(&self, name: &str, off: u64, data: &[u8]) -> Result<()> {
        let file = self.open(name)?;
        sys::wait_for_old_netfs(soon())?;
        file.write_all_at(data, off)
            .with_context(|| format!("writing to {name}"))
    }

    /// Writes past the page cache, which invalidates what is cached of the file.
    pub fn write_directly(&self, name: &str, off: u64, length: usize) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits())?;
        let file = File::options()
            .write(true)
            .custom_flags(flags)
            .open(self.file(name));
        let file = file.with_context(|| format!("opening {name}"))?;
        // Else the one or the other comes first.
        sys::wait_for("the look-up to end", soon(), || {
            sys::lookups_done().unwrap_or(false)
        })?;
        let data = cachefiles_protocol::AlignedBuffer::new(length);
        file.write_all_at(&data, off)
            .with_context(|| format!("writing to {name}"))
    }

    /// Writes to its end.
    pub fn append(&self, name: &str, data: &[u8]) -> Result<()> {
        let mut file = File::options().append(true).open(self.file(name))?;
        sys::wait_for_old_netfs(soon())?;
        file.write_all(data)
            .with_context(|| format!("appending to {name}"))
    }

    /// Waits until what was written is with the server and in the cache.
    pub fn sync(&self, name: &str) -> Result<()> {
        let synced = self.open(name)?.sync_all();
        synced.with_context(|| format!("syncing {name}"))?;
        settle()
    }

    /// Gives a file another size.
    pub fn truncate(&self, name: &str, size: u64) -> Result<()> {
        self.open(name)?
            .set_len(size)
            .with_context(|| format!("truncating {name}"))
    }

    /// Removes a file through the client.
    pub fn remove(&self, name: &str) -> Result<()> {
        fs::remove_file(self.file(name)).with_context(|| format!("removing {name}"))
    }

    /// The files in the cache, ordered by the time at which they were made.
    pub fn stored(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut dirs = vec![Path::new(sys::CACHE).join("cache")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    dirs.push(entry.path());
                } else {
                    files.push((entry.metadata()?.ino(), entry.path()));
                }
            }
        }
        files.sort();
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }

    /// What is in the cache: of each file its attribute, its size and where it has data.
    pub fn cached(&self) -> Result<String> {
        let files = self.stored()?;
        let texts: Result<Vec<String>> = files.iter().map(|path| describe(path)).collect();
        Ok(if files.is_empty() {
            "nothing".into()
        } else {
            texts?.join("; ")
        })
    }
}

/// Waits until netfs is done with what goes to the cache in the background. Nothing tells when that
/// is, so the end is taken to be when no counter has moved for a while.
fn settle() -> Result<()> {
    const STILL: Duration = Duration::from_millis(60);
    let mut last = Counters::now()?;
    let mut since = Instant::now();
    sys::wait_for("the counters to stand still", soon(), || {
        let now = Counters::now().unwrap_or_default();
        // `LRU.at` is a time.
        let moved = now.since(&last).moved();
        if moved
            .split(' ')
            .any(|field| !field.is_empty() && !field.starts_with("LRU.at="))
        {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() >= STILL
    })
}

/// A cache file, without what the server chose: the coherency data is given by its length.
fn describe(path: &Path) -> Result<String> {
    let attribute = attribute(path);
    let attribute = match attribute.split_once(' ') {
        Some(_) => {
            let digits: String = attribute.split(' ').collect();
            let (known, aux) = digits.split_at(digits.len().min(36));
            let size = u64::from_str_radix(known.get(..16).unwrap_or_default(), 16).unwrap_or(0);
            let rest = known.get(16..).unwrap_or_default();
            format!("object size {size}, {rest}+{} bytes", aux.len() / 2)
        }
        None => attribute,
    };
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let size = file.metadata()?.len();
    let mut extents = Vec::new();
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(start))?;
        extents.push(format!("{start}..{at}"));
    }
    let extents = if extents.is_empty() {
        "nothing".into()
    } else {
        extents.join(" ")
    };
    Ok(format!("{attribute}, file of {size} with {extents}"))
}
