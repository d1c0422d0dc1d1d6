// SPDX-License-Identifier: GPL-2.0
//! The original mode's surroundings: a directory of the host mounted by 9p, a cache bound without
//! an argument, and the counters that tell the server's data from the cache's.
//!
//! The machine has to be started with `scripts/vm --share` or `--share-scratch`. The kernel loads
//! 9p by itself at the mount.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use cachefiles_protocol::{Device, Errno, Limit};
use rustix::mount::{MountFlags, mount};

use crate::sys;

/// The tag to mount with caching.
pub const SHARE: &str = "share";

/// A second device for the same directory: the server's side, to look at it and to change it behind
/// the client's back. A device can be mounted once at a time, so this needs a tag of its own.
pub const SERVER: &str = "server";

/// Mount options of a client that keeps what it read in the cache.
pub const CACHED: &str = "cache=fscache";

/// Mount options of a client that keeps nothing.
pub const UNCACHED: &str = "cache=none";

/// How long users on their way out may hold a mount.
const PATIENCE: Duration = Duration::from_secs(15);

/// A mounted network file system. Dropping it takes it out of the tree; a test that wants to know
/// that it really went away calls [`NetMount::unmount`].
#[derive(Debug)]
pub struct NetMount {
    target: PathBuf,
}

impl NetMount {
    /// Mounts `source` at `target`, which is made if it is missing.
    pub fn new(fstype: &str, source: &str, target: &Path, options: &str) -> Result<Self> {
        fs::create_dir_all(target).with_context(|| format!("making {}", target.display()))?;
        let data = CString::new(options)?;
        mount(
            source,
            target,
            fstype,
            MountFlags::empty(),
            Some(data.as_c_str()),
        )
        .with_context(|| format!("mounting {fstype} {source} with {options}"))?;
        Ok(Self {
            target: target.to_owned(),
        })
    }

    /// Mounts the shared directory by 9p; `options` are [`CACHED`] or [`UNCACHED`] and whatever
    /// else (`msize=`, `cachetag=`).
    pub fn share(tag: &str, target: &Path, options: &str) -> Result<Self> {
        let options = format!("trans=virtio,version=9p2000.L,{options}");
        Self::new("9p", tag, target, &options)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// A file in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.target.join(name)
    }

    /// Unmounts, waiting for users that are on their way out.
    pub fn unmount(mut self) -> Result<()> {
        let target = std::mem::take(&mut self.target);
        sys::unmount_patiently(&target, PATIENCE)
    }
}

impl Drop for NetMount {
    fn drop(&mut self) {
        if !self.target.as_os_str().is_empty() {
            // On the way out of a failure: there is nobody left to tell.
            let _ = sys::detach(&self.target);
        }
    }
}

/// The counters of netfs and fscache at one moment. Names are those of `/proc/fs/netfs/stats`, such
/// as `DownOps.DL`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, i64>);

impl Counters {
    /// Reads them. `/proc/fs/fscache/stats` shows the same.
    pub fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/fs/netfs/stats").context("reading the counters")?;
        Ok(Self::parse(&text))
    }

    /// Lines are `Name   : key=value key=value`; what is not of that form is a heading.
    fn parse(text: &str) -> Self {
        let mut counters = BTreeMap::new();
        for line in text.lines() {
            let Some((name, pairs)) = line.split_once(':') else {
                continue;
            };
            for pair in pairs.split_whitespace() {
                if let Some((key, value)) = pair.split_once('=') {
                    if let Ok(value) = value.parse() {
                        counters.insert(format!("{}.{key}", name.trim()), value);
                    }
                }
            }
        }
        Self(counters)
    }

    /// One of them. An error for a name that this kernel does not have.
    pub fn get(&self, name: &str) -> Result<i64> {
        let value = self.0.get(name).copied();
        value.with_context(|| format!("no counter {name} in /proc/fs/netfs/stats"))
    }

    /// How far each went since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let moved = self.0.iter().map(|(name, value)| {
            let past = before.0.get(name).copied().unwrap_or(0);
            (name.clone(), value - past)
        });
        Self(moved.collect())
    }

    /// Requests that went to the server for data (`DownOps.DL`).
    pub fn downloads(&self) -> Result<i64> {
        self.get("DownOps.DL")
    }

    /// Reads that the cache was asked for (`CaRdOps.RD`), of which `CaRdOps.rf` failed.
    pub fn cache_reads(&self) -> Result<i64> {
        self.get("CaRdOps.RD")
    }

    /// Files that were culled (`NoSpace.cull`).
    pub fn culled(&self) -> Result<i64> {
        self.get("NoSpace.cull")
    }

    /// Those that are not zero, for a message.
    pub fn moved(&self) -> String {
        let moved = self.0.iter().filter(|(_, value)| **value != 0);
        moved
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Binds a cache in the original mode: limits first, then directory, tag and `bind`.
pub fn bind(dir: &Path, tag: &str, limits: &[(Limit, u8)]) -> Result<Device> {
    let device = Device::open().context("opening the device")?;
    for &(limit, percent) in limits {
        device
            .set_limit(limit, percent)
            .with_context(|| format!("setting {limit} to {percent}%"))?;
    }
    bind_device(&device, dir, tag).context("binding the cache")?;
    Ok(device)
}

/// The same for a device that is open already.
pub fn bind_device(device: &Device, dir: &Path, tag: &str) -> Result<(), Errno> {
    use std::os::unix::ffi::OsStrExt;
    device.command_bytes(&[b"dir ", dir.as_os_str().as_bytes()].concat())?;
    device.command(&format!("tag {tag}"))?;
    device.command("bind")
}

/// Ends all caches that wait for their next daemon, as far as nobody has the device.
pub fn end_lingering() -> Result<()> {
    for cache in sys::fscache_table("caches")? {
        let Some(tag) = cache.split_whitespace().last() else {
            continue;
        };
        // Refused where it does not wait, is another user's, or the module knows no such thing.
        if let Ok(device) = Device::open()
            && device.attach(tag).is_ok()
        {
            device.set_linger(0)?;
        }
    }
    Ok(())
}

/// Lets go of all clean pages and unused inodes: what is read next comes from the cache or the
/// server.
pub fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches")
}

/// Waits until fscache knows no cookie and no volume: after the last unmount it lets go of them in
/// its own time.
pub fn wait_for_no_cookies() -> Result<()> {
    for name in ["cookies", "volumes"] {
        sys::wait_for(name, PATIENCE, || {
            sys::fscache_table(name).is_ok_and(|rows| rows.is_empty())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &str = "DownOps: DL=7 ds=6 df=1 di=0\n-- FS-Cache statistics --\n\
        LRU    : n=0 exp=0 rmv=0 drp=0 at=-12\n";

    #[test]
    fn counters_are_named_after_line_and_key() {
        let counters = Counters::parse(STATS);
        assert_eq!(counters.downloads().unwrap(), 7);
        assert_eq!(counters.get("LRU.at").unwrap(), -12);
        assert!(counters.get("DownOps.xx").is_err());
    }

    #[test]
    fn a_difference_shows_what_moved() {
        let before = Counters::parse(STATS);
        let after = Counters::parse(&STATS.replace("DL=7", "DL=9"));
        assert_eq!(after.since(&before).moved(), "DownOps.DL=2");
    }
}
