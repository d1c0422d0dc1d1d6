// SPDX-License-Identifier: GPL-2.0
//! The same large file, by each of the ways that are compared: mounted, with nothing of it in the
//! cache, and a server that takes a while for what is asked for.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::sys;
use cachefiles_harness::task::{Task, soon};
use rustix::mount::{MountFlags, mount};

use super::local::Local;
use super::{fuse, nbd};
use crate::daemon::{Daemon, Mount};
use crate::latency::{Far, PARAMETERS, content};

/// How far readahead goes where it is told to go far, in KiB.
const FAR: u32 = 1024;

/// How far is read ahead, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// As it is where nobody says anything.
    Default,
    /// The kernel's own readahead goes far: `read_ahead_kb` of the mount or of the disk. Our module
    /// does not wait meanwhile (`async_reads`).
    Kernel,
    /// Our module does, behind the kernel's back: `readahead`, and `async_reads` as well.
    Module,
}

/// One of the ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// EROFS on demand, by the module that is loaded.
    OnDemand,
    /// A FUSE file system.
    Fuse,
    /// EROFS on a network block device.
    Nbd,
}

/// Who serves it.
enum Server {
    OnDemand(Daemon, Mount),
    Fuse(fuse::Mounted, Arc<Local>),
    Nbd(nbd::Disk, Arc<Local>),
}

/// A mount of it.
pub struct Mounted {
    server: Server,
    root: PathBuf,
    latency: Duration,
    /// What the server was asked for, where that is not counted by a [`Local`].
    reads: (usize, usize),
}

impl Way {
    /// Mounts `image`, whose large file has the content that it has to have.
    pub fn mount(self, image: &[u8], ahead: Ahead, latency: Duration) -> Result<Mounted> {
        let root = Path::new("/mnt").join("rival");
        let cache = Path::new(sys::CACHE).join("rival");
        fs::create_dir_all(&root)?;
        let server = match self {
            Self::OnDemand => return on_demand(image, ahead, latency),
            Self::Fuse => {
                let local = Arc::new(Local::new(content::large(), &cache, latency)?);
                let fs = fuse::Mounted::new(&root, content::LARGE, Arc::clone(&local), &cache)?;
                let device = rustix::fs::minor(fs::metadata(&root)?.st_dev());
                if ahead == Ahead::Kernel {
                    set_readahead(&Path::new("/sys/class/bdi").join(format!("0:{device}")))?;
                }
                Server::Fuse(fs, local)
            }
            Self::Nbd => {
                let local = Arc::new(Local::new(image.to_vec(), &cache, latency)?);
                let disk = nbd::Disk::new(Arc::clone(&local))?;
                if ahead == Ahead::Kernel {
                    set_readahead(&Path::new(nbd::SHOWN).join("queue"))?;
                }
                mount(nbd::DEVICE, &root, c"erofs", MountFlags::RDONLY, None)
                    .context("mounting the network block device")?;
                Server::Nbd(disk, local)
            }
        };
        Ok(Mounted {
            server,
            root,
            latency,
            reads: (0, 0),
        })
    }
}

fn on_demand(image: &[u8], ahead: Ahead, latency: Duration) -> Result<Mounted> {
    let parameters = Path::new(PARAMETERS);
    if is_ours() {
        let is_async = u32::from(ahead != Ahead::Default);
        let kib = if ahead == Ahead::Module { FAR } else { 0 };
        fs::write(parameters.join("async_reads"), is_async.to_string())?;
        fs::write(parameters.join("readahead"), kib.to_string())?;
    }
    let mut daemon = Daemon::new()?;
    let mount = daemon.mount("rival", image.to_vec(), "")?;
    if ahead == Ahead::Kernel {
        let all = fs::read_dir("/sys/class/bdi")?.collect::<Result<Vec<_>, _>>()?;
        let own: Vec<_> = all
            .iter()
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"erofs-"))
            .collect();
        ensure!(own.len() == 1, "{} mounts of EROFS", own.len());
        set_readahead(&own[0].path())?;
    }
    Ok(Mounted {
        root: mount.path.clone(),
        server: Server::OnDemand(daemon, mount),
        latency,
        reads: (0, 0),
    })
}

/// Whether the module that is loaded has parameters for it.
pub fn is_ours() -> bool {
    Path::new(PARAMETERS).join("readahead").exists()
}

fn set_readahead(directory: &Path) -> Result<()> {
    let path = directory.join("read_ahead_kb");
    fs::write(&path, FAR.to_string()).with_context(|| format!("writing {}", path.display()))
}

impl Mounted {
    /// Calls `reader` with the directory of the mount, while what it reads is fetched.
    pub fn during<T: Send + 'static>(
        &mut self,
        reader: impl FnOnce(&Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let root = self.root.clone();
        let task = Task::start("a reader", move || reader(&root));
        match &mut self.server {
            Server::OnDemand(daemon, _) => {
                let mut far = Far::new(daemon, self.latency);
                let result = far.serve_during(task)?;
                let (most, all) = self.reads;
                self.reads = (most.max(far.most), all + far.reads);
                result
            }
            _ => task.finish_within(Duration::from_secs(600))?,
        }
    }

    /// The same where nothing has to be fetched, and nobody is there to do it.
    pub fn undisturbed<T: Send + 'static>(
        &mut self,
        reader: impl FnOnce(&Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let before = self.fetches()?;
        let root = self.root.clone();
        let result =
            Task::start("a reader", move || reader(&root)).finish_within(10 * soon())??;
        if let Server::OnDemand(daemon, _) = &self.server {
            ensure!(!daemon.poll()?, "the daemon was asked for something");
        }
        ensure!(
            self.fetches()? == before,
            "the server was asked for something"
        );
        Ok(result)
    }

    /// How many fetches there were at most at a time, and in all. Everything fetched is in the
    /// cache then.
    pub fn fetches(&self) -> Result<(usize, usize)> {
        match &self.server {
            Server::OnDemand(..) => Ok(self.reads),
            Server::Nbd(_, local) => local.settle(),
            Server::Fuse(fs, local) => {
                fs.settle()?;
                local.settle()
            }
        }
    }

    /// How often the file was opened for the kernel to read it by itself, if it has to be.
    pub fn passed(&self) -> Option<usize> {
        match &self.server {
            Server::Fuse(fs, _) => Some(fs.passed()),
            _ => None,
        }
    }

    /// Unmounts.
    pub fn unmount(self) -> Result<()> {
        match self.server {
            Server::OnDemand(mut daemon, mount) => daemon.unmount(mount),
            Server::Fuse(fs, _) => fs.unmount(),
            Server::Nbd(disk, _) => {
                sys::unmount_patiently(&self.root, soon())?;
                disk.remove()
            }
        }
    }
}

/// Loads the modules of the kernel that the rivals need.
pub fn load() -> Result<()> {
    for module in [["fuse", ""], ["nbd", "nbds_max=1"]] {
        let arguments = module.iter().filter(|argument| !argument.is_empty());
        let status = Command::new("modprobe").args(arguments).status()?;
        ensure!(status.success(), "there is no module {}", module[0]);
    }
    Ok(())
}
