// SPDX-License-Identifier: GPL-2.0
//! The world of the original mode: a directory on a server, a client that mounts it over 9p and
//! caches it, and the cache below.
//!
//! The server's files are seen twice: by the client, and through a mount that caches nothing
//! ([`Server`]), which stands for what the server's other users see and do.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_protocol::{Device, Errno, key_path};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Advice;

use crate::context::{Context, TAG};
use crate::registry::Skip;
use crate::share::{self, Counters, NetMount};
use crate::sys;

/// Blocks of the cache: what a partial block at the end of a file is rounded up to.
pub const BLOCK: usize = 4096;

/// A bound cache. `limits` are commands given before `bind`.
///
/// With `selftests.mixed=1` in the kernel's command line it is one of both modes.
pub fn bind(ctx: &Context, limits: &[&str]) -> Result<Device> {
    let device = ctx.device()?;
    for limit in limits {
        device.command(limit).context((*limit).to_owned())?;
    }
    let bound = if is_mixed()? {
        device.set_mixed(true)?;
        device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))
    } else {
        share::bind_device(&device, sys::CACHE.as_ref(), TAG)
    };
    bound.context("binding the cache")?;
    Ok(device)
}

/// Whether the caches of this run are of both modes.
fn is_mixed() -> Result<bool> {
    let words = fs::read_to_string("/proc/cmdline")?;
    Ok(words.contains("selftests.mixed=1"))
}

/// Skips a test in a cache of both modes, for what that does by intention.
pub fn skip_if_mixed(why: &str) -> Result<()> {
    match is_mixed()? {
        true => Err(Skip(format!("a cache of both modes: {why}")).into()),
        false => Ok(()),
    }
}

/// A cache of both modes stays while it is used.
pub const IS_KEPT: &str = "it is kept without its daemon while it is used";
/// Reads of its device are for messages.
pub const NO_STATE: &str = "its device has no state line";
/// An image has no other source.
pub const NOT_STOPPED: &str = "a bad disk does not stop it";

/// A bound cache with the server's one file, `file`, in it, which nobody uses; and where the cache
/// keeps it.
pub fn filled(ctx: &Context, data: &[u8]) -> Result<(Server, Device, PathBuf)> {
    let server = Server::new(ctx)?;
    server.put("file", data)?;
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", data)?;
    let path = client.cache_file("file")?;
    client.unmount()?;
    ensure!(path.exists(), "{} was not stored", path.display());
    Ok((server, device, path))
}

/// What poll says of the device at once.
pub fn polls(device: &Device) -> Result<PollFlags> {
    polls_within(device, PollFlags::IN | PollFlags::OUT, Duration::ZERO)
}

/// The same, waiting for one of `events` for at most `limit`.
pub fn polls_within(device: &Device, events: PollFlags, limit: Duration) -> Result<PollFlags> {
    let mut fds = [PollFd::new(device, events)];
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs())?,
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    poll(&mut fds, Some(&limit))?;
    Ok(fds[0].revents())
}

/// The line that a read of the device gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State(BTreeMap<String, u64>);

impl State {
    /// Reads it, which sets what was released back to zero.
    pub fn read(device: &Device) -> Result<Self> {
        skip_if_mixed(NO_STATE)?;
        let mut buffer = [0; 256];
        let length = rustix::io::read(device, &mut buffer).context("reading the state")?;
        let line = std::str::from_utf8(&buffer[..length])?;
        let mut fields = BTreeMap::new();
        for field in line.split(' ') {
            let (name, value) = field.split_once('=').context("no = in the state")?;
            let value = u64::from_str_radix(value, 16).with_context(|| line.to_owned())?;
            fields.insert(name.to_owned(), value);
        }
        Ok(Self(fields))
    }

    /// A field of it.
    pub fn get(&self, name: &str) -> Result<u64> {
        self.0
            .get(name)
            .copied()
            .with_context(|| format!("no {name} in the state"))
    }

    /// Whether the cache is culling.
    pub fn culls(&self) -> Result<bool> {
        Ok(self.get("cull")? != 0)
    }
}

/// The counters of netfs and fscache at a moment.
pub struct Counts(Counters);

impl Counts {
    /// As they are now.
    pub fn now() -> Result<Self> {
        Counters::now().map(Self)
    }

    /// By how much one has moved since, as in `IO.rd`.
    pub fn moved(&self, name: &str) -> Result<i64> {
        Counters::now()?.since(&self.0).get(name)
    }
}

/// The server's directory of a test, as all but the client see it.
pub struct Server {
    mount: NetMount,
}

impl Server {
    /// Mounts it, and empties it.
    pub fn new(ctx: &Context) -> Result<Self> {
        let mount = mounted(ctx, share::SERVER, share::UNCACHED)?;
        let server = Self { mount };
        for entry in fs::read_dir(server.mount.path())? {
            let path = entry?.path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(|| format!("emptying the server: {}", path.display()))?;
        }
        Ok(server)
    }

    /// A file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.mount.path().join(name)
    }

    /// Makes a file, or replaces its contents; its inode stays.
    pub fn put(&self, name: &str, data: &[u8]) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, data).with_context(|| format!("writing {}", path.display()))
    }

    /// What the file holds.
    pub fn get(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name);
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// That it holds `expected`.
    pub fn check(&self, name: &str, expected: &[u8]) -> Result<()> {
        same(&self.get(name)?, expected).with_context(|| format!("{name} on the server"))
    }

    /// Sets the time of modification.
    pub fn set_mtime(&self, name: &str, seconds: u32) -> Result<()> {
        let file = File::options().write(true).open(self.path(name))?;
        let time = UNIX_EPOCH + Duration::from_secs(seconds.into());
        file.set_modified(time)
            .with_context(|| format!("setting the time of {name}"))
    }

    /// Puts other contents, with a version that differs from any that the server gave before.
    pub fn change(&self, name: &str, data: &[u8]) -> Result<()> {
        let before = fs::metadata(self.path(name))?.mtime();
        self.put(name, data)?;
        self.set_mtime(name, u32::try_from(before)?.wrapping_add(1000))
    }

    /// Gives a file the time that makes the server call it version `version`: what the client wrote
    /// is then coherent with what it cached, as it is on servers that tell the writer the new
    /// version.
    ///
    /// QEMU's server makes the version of a file from the seconds of its mtime and its size.
    pub fn set_version(&self, name: &str, version: u32) -> Result<()> {
        let size = fs::metadata(self.path(name))?.len();
        self.set_mtime(name, version ^ ((size << 8) as u32))
    }
}

/// Mounts one of the two devices; skips in a machine that has none.
fn mounted(ctx: &Context, tag: &str, options: &str) -> Result<NetMount> {
    NetMount::share(tag, &ctx.mount_point(tag), options).map_err(|error| {
        match error.downcast_ref::<Errno>() {
            Some(&Errno::NOENT) => Skip(format!("no shared directory: {error:#}")).into(),
            _ => error,
        }
    })
}

/// A client that caches what it reads and writes.
pub struct Client {
    mount: NetMount,
    tag: String,
}

impl Client {
    /// Mounts the server's directory.
    pub fn mount(ctx: &Context) -> Result<Self> {
        Self::mount_as(ctx, "selftest")
    }

    /// The same, cached in a volume of its own.
    ///
    /// The root is opened once, which attaches this user. In 6.12 the first to use a mount must not
    /// be several at once: `v9fs_fid_lookup_with_uid` looks for a fid of the root, then for one of
    /// its parent, which is the root again. If another thread attaches in between, it asks the
    /// server for a file of the root's own name, `/`, and whoever looks something up gets ENOENT.
    pub fn mount_as(ctx: &Context, tag: &str) -> Result<Self> {
        let options = format!("{},msize=262144,cachetag={tag}", share::CACHED);
        let mount = mounted(ctx, share::SHARE, &options)?;
        File::open(mount.path()).context("opening the root of the client")?;
        Ok(Self {
            mount,
            tag: tag.to_owned(),
        })
    }

    /// A file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.mount.path().join(name)
    }

    /// That a file reads as `expected`.
    pub fn check(&self, name: &str, expected: &[u8]) -> Result<()> {
        let data = fs::read(self.path(name)).with_context(|| format!("reading {name}"))?;
        same(&data, expected).with_context(|| format!("{name} on the client"))
    }

    /// The same with a request for each block, without reading ahead.
    ///
    /// In 6.12 netfs can lose what one part of a request hands to the next ("Can't donate prior to
    /// front", and a BUG), where a part from the cache ends while one that the end of the file cuts
    /// is fetched. Requests of one block have no such parts.
    pub fn check_by_block(&self, name: &str, expected: &[u8]) -> Result<()> {
        let file = File::open(self.path(name)).with_context(|| format!("opening {name}"))?;
        rustix::fs::fadvise(&file, 0, None, Advice::Random)?;
        let mut seen = Vec::new();
        let mut block = [0; BLOCK];
        loop {
            let read = rustix::io::pread(&file, &mut block, seen.len() as u64)
                .with_context(|| format!("reading {name} from byte {}", seen.len()))?;
            seen.extend_from_slice(&block[..read]);
            if read < BLOCK {
                return same(&seen, expected).with_context(|| format!("{name} on the client"));
            }
        }
    }

    /// That it does, all of it from the cache.
    pub fn check_warm(&self, name: &str, expected: &[u8]) -> Result<()> {
        let before = Counts::now()?;
        self.check(name, expected)?;
        let (server, cache) = (before.moved("DownOps.DL")?, before.moved("CaRdOps.RD")?);
        ensure!(server == 0, "{name}: {server} reads came from the server");
        ensure!(
            cache > 0 || expected.is_empty(),
            "{name}: no read came from the cache"
        );
        Ok(())
    }

    /// That it does, and that the server was asked.
    pub fn check_cold(&self, name: &str, expected: &[u8]) -> Result<()> {
        let before = Counts::now()?;
        self.check(name, expected)?;
        ensure!(
            before.moved("DownOps.DL")? > 0,
            "{name}: the server was not asked"
        );
        Ok(())
    }

    /// A file opened for reading and writing.
    pub fn open(&self, name: &str) -> Result<File> {
        File::options()
            .read(true)
            .write(true)
            .open(self.path(name))
            .with_context(|| format!("opening {name}"))
    }

    /// Writes everything that waits to be written: to the server, and to the cache.
    pub fn sync(&self) -> Result<()> {
        let root = File::open(self.mount.path())?;
        rustix::fs::syncfs(&root).context("syncfs")
    }

    /// The key of a file's cookie: its number on the server.
    pub fn key(&self, name: &str) -> Result<[u8; 8]> {
        let inode = fs::metadata(self.path(name))?.ino();
        // The client adds two: it keeps the lowest numbers for itself.
        let number = inode.checked_sub(2).context("an inode number below two")?;
        Ok(number.to_le_bytes())
    }

    /// Where the cache keeps a file.
    pub fn cache_file(&self, name: &str) -> Result<PathBuf> {
        let path = key_path(&self.volume_key(), &self.key(name)?);
        Ok(Path::new(sys::CACHE).join(path))
    }

    /// The directory that the cache keeps this client's files in.
    pub fn volume_dir(&self) -> PathBuf {
        let key = String::from_utf8_lossy(&self.volume_key()).into_owned();
        Path::new(sys::CACHE).join("cache").join(format!("I{key}"))
    }

    fn volume_key(&self) -> Vec<u8> {
        format!("9p,{},{}", share::SHARE, self.tag).into_bytes()
    }

    /// Unmounts, and does not wait for what the cache still does.
    pub fn unmount_at_once(self) -> Result<()> {
        self.mount.unmount()
    }

    /// Unmounts, and waits until the cache holds nothing of it any more.
    pub fn unmount(self) -> Result<()> {
        self.mount.unmount()?;
        share::wait_for_no_cookies()
    }
}

/// Opens a file for direct reading and writing, past the page cache.
pub fn open_direct(path: &Path) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}

/// The state letters of all cookies.
pub fn cookie_states() -> Result<Vec<String>> {
    Ok(sys::fscache_table("cookies")?
        .iter()
        .filter_map(|row| row.split_whitespace().nth(5).map(str::to_owned))
        .collect())
}

/// Forgets clean pages; with `inodes`, unused inodes as well.
pub fn drop_caches(inodes: bool) -> Result<()> {
    fs::write("/proc/sys/vm/drop_caches", if inodes { "3" } else { "1" }).context("drop_caches")
}

/// Two contents, with the place where they differ.
pub fn same(seen: &[u8], expected: &[u8]) -> Result<()> {
    if let Some(at) = seen.iter().zip(expected).position(|(a, b)| a != b) {
        bail!("differs from byte {at} on (of {})", expected.len());
    }
    ensure!(
        seen.len() == expected.len(),
        "has {} bytes instead of {}",
        seen.len(),
        expected.len()
    );
    Ok(())
}

/// A command given with a directory as the working directory.
pub fn command_at(device: &Device, path: &Path, verb: &str) -> Result<Result<(), Errno>> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.context("a name that is no text")?;
    std::env::set_current_dir(path.parent().context("no parent")?)?;
    let result = device.command(&format!("{verb} {name}"));
    std::env::set_current_dir("/")?;
    Ok(result)
}

/// Every regular file in the store.
pub fn stored_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut dirs = vec![Path::new(sys::CACHE).join("cache")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What lies in the graveyard.
pub fn graves() -> Result<Vec<PathBuf>> {
    let dir = Path::new(sys::CACHE).join("graveyard");
    let graves: std::io::Result<Vec<PathBuf>> =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect();
    Ok(graves?)
}

/// The seconds since the epoch.
pub fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}
