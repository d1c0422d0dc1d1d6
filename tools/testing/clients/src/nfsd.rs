// SPDX-License-Identifier: GPL-2.0
//! The kernel's NFS server, version 4 only, exporting one directory to this machine.
//!
//! What exportfs and rpc.mountd answer to the kernel's questions is known beforehand, so it is
//! written to the kernel's caches at once and neither program is needed; nor is rpcbind, which
//! version 4 does not use.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use cachefiles_harness::share::NetMount;

const CONTROL: &str = "/proc/fs/nfsd";

/// Where the server keeps who its clients are. It has to exist, else no grace period can be ended.
const RECOVERY: &str = "/var/lib/nfs/v4recovery";

/// Never, in the kernel's caches.
const EXPIRY: u32 = i32::MAX as u32;

/// Of an export: any source port, replies before the data is on disk, no check of the path to the
/// exported directory, and a file system id of its own. All from `linux/nfsd/export.h`.
const FLAGS: u32 = 0x2 | 0x10 | 0x400 | 0x2000;

/// A running server. It is stopped by [`Nfsd::stop`].
pub struct Nfsd {
    control: NetMount,
}

impl Nfsd {
    /// Exports `dir` as the root, `127.0.0.1:/`.
    pub fn start(dir: &Path) -> Result<Self> {
        fs::create_dir_all(RECOVERY)?;
        let control = NetMount::new("nfsd", "nfsd", CONTROL.as_ref(), "")?;
        let dir = dir.display();
        tell("/proc/fs/nfsd/versions", "-3 +4 +4.2")?;
        // Who 127.0.0.1 is; what may be done with the directory; which file handle means it.
        tell(
            "/proc/net/rpc/auth.unix.ip/channel",
            &format!("nfsd 127.0.0.1 {EXPIRY} clients"),
        )?;
        tell(
            "/proc/net/rpc/nfsd.export/channel",
            &format!("clients {dir} {EXPIRY} {FLAGS} 65534 65534 0"),
        )?;
        tell(
            "/proc/net/rpc/nfsd.fh/channel",
            &format!("clients 1 \\x00000000 {EXPIRY} {dir}"),
        )?;
        tell("/proc/fs/nfsd/portlist", "tcp 2049")?;
        tell("/proc/fs/nfsd/threads", "2")?;
        // No client has anything to reclaim from a server that was just made.
        tell("/proc/fs/nfsd/v4_end_grace", "Y")?;
        Ok(Self { control })
    }

    /// How many bytes it was asked for by reads, since the machine started.
    pub fn bytes_read() -> Result<u64> {
        let text = fs::read_to_string("/proc/net/rpc/nfsd").context("reading the statistics")?;
        let line = text.lines().find_map(|line| line.strip_prefix("io "));
        let bytes = line.and_then(|line| line.split_whitespace().next());
        bytes
            .context("no line `io` in the server's statistics")?
            .parse()
            .context("not a number of bytes")
    }

    /// Ends the server and makes it let go of the directory.
    pub fn stop(self) -> Result<()> {
        tell("/proc/fs/nfsd/threads", "0")?;
        for cache in ["nfsd.fh", "nfsd.export", "auth.unix.ip"] {
            tell(&format!("/proc/net/rpc/{cache}/flush"), "1")?;
        }
        self.control.unmount()
    }
}

/// Writes one line to a control file.
fn tell(path: &str, line: &str) -> Result<()> {
    fs::write(path, format!("{line}\n")).with_context(|| format!("writing `{line}` to {path}"))
}
