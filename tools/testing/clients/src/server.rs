// SPDX-License-Identifier: GPL-2.0
//! The file servers, and how a client mounts them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use cachefiles_harness::share::{self, NetMount};

use crate::nfsd::Nfsd;

/// Where the server's own side of the files is.
const SERVER: &str = "/server";

/// Where the client mounts them.
const CLIENT: &str = "/client";

/// Which network file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// 9p over virtio; QEMU is the server, and the files lie on the host.
    #[value(name = "9p")]
    NineP,
    /// NFS 4.2 with the kernel's server in the same machine; the files lie in memory.
    Nfs,
}

impl Kind {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::NineP => "9p",
            Self::Nfs => "nfs",
        }
    }
}

/// A server with its files.
pub struct Server {
    kind: Kind,
    files: NetMount,
    nfsd: Option<Nfsd>,
}

impl Server {
    /// Starts it.
    pub fn start(kind: Kind) -> Result<Self> {
        let target = Path::new(SERVER);
        let (files, nfsd) = match kind {
            Kind::NineP => (
                NetMount::share(share::SERVER, target, share::UNCACHED)?,
                None,
            ),
            Kind::Nfs => {
                let files = NetMount::new("tmpfs", "server", target, "size=512m")?;
                (files, Some(Nfsd::start(target)?))
            }
        };
        Ok(Self { kind, files, nfsd })
    }

    /// A directory, as the server has it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// Mounts it as a client that caches.
    pub fn mount(&self) -> Result<NetMount> {
        let target = Path::new(CLIENT);
        match self.kind {
            Kind::NineP => NetMount::share(share::SHARE, target, share::CACHED),
            Kind::Nfs => NetMount::new(
                "nfs4",
                "127.0.0.1:/",
                target,
                "vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1,sec=sys,fsc",
            ),
        }
    }

    /// How many bytes the server itself says that it was asked for; not every kind does.
    pub fn bytes_read(&self) -> Result<Option<u64>> {
        match self.kind {
            // QEMU keeps no count: netfs's own one has to do.
            Kind::NineP => Ok(None),
            Kind::Nfs => Nfsd::bytes_read().map(Some),
        }
    }

    /// Ends it.
    pub fn stop(self) -> Result<()> {
        if let Some(nfsd) = self.nfsd {
            nfsd.stop()?;
        }
        self.files.unmount()
    }
}
