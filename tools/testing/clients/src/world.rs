// SPDX-License-Identifier: GPL-2.0
//! What every step works with: the module, the cache disk, cachefilesd, a server and its client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_harness::registry::Module;
use cachefiles_harness::share::{self, Counters, NetMount};
use cachefiles_harness::sys;
use rustix::mount::{MountFlags, mount};

use crate::cachefilesd::{self, Cachefilesd, Limits};
use crate::server::{Kind, Server};
use crate::settings::Settings;

const PATIENCE: Duration = Duration::from_secs(20);

/// The surroundings of a step. A step asks for what it needs with [`World::ready`] and may leave
/// everything running.
pub struct World {
    settings: Settings,
    server: Server,
    daemon: Option<Cachefilesd>,
    client: Option<NetMount>,
    notes: Vec<String>,
}

impl World {
    /// Mounts the cache disk, inserts the module and starts the server.
    pub fn start(settings: &Settings, kind: Kind) -> Result<Self> {
        std::fs::create_dir_all(sys::CACHE)?;
        mount(
            &settings.cache_dev,
            sys::CACHE,
            settings.cache_fs.name(),
            MountFlags::empty(),
            None,
        )
        .with_context(|| format!("mounting {}", settings.cache_dev.display()))?;
        sys::load_module(&settings.module_path)?;
        // Caches are dropped often: not a line in the kernel log for each time.
        std::fs::write("/proc/sys/vm/drop_caches", "4").context("silencing drop_caches")?;
        Ok(Self {
            settings: settings.clone(),
            server: Server::start(kind)?,
            daemon: None,
            client: None,
            notes: Vec::new(),
        })
    }

    /// Starts cachefilesd and mounts the client, where that is not so already.
    pub fn ready(&mut self) -> Result<()> {
        self.ready_with(Limits::LOW)
    }

    /// The same; a cachefilesd that has to be started gets these limits.
    pub fn ready_with(&mut self, limits: Limits) -> Result<()> {
        if self.daemon.is_none() {
            self.daemon = Some(Cachefilesd::start(limits)?);
        }
        if self.client.is_none() {
            self.client = Some(self.server.mount()?);
        }
        Ok(())
    }

    /// Takes cachefilesd out, to be ended. An error if it is not running any more.
    pub fn take_daemon(&mut self) -> Result<Cachefilesd> {
        let mut daemon = self.daemon.take().context("cachefilesd is not running")?;
        ensure!(
            daemon.runs(),
            "cachefilesd ended by itself: {}",
            cachefilesd::told()
        );
        Ok(daemon)
    }

    /// Which module is under test.
    pub fn module(&self) -> Module {
        self.settings.module
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A directory as the client sees it.
    pub fn client(&self, name: &str) -> Result<PathBuf> {
        let client = self.client.as_ref().context("the client is not mounted")?;
        Ok(client.join(name))
    }

    /// Unmounts the client, and forgets in memory whatever came by it.
    pub fn unmount(&mut self) -> Result<()> {
        if let Some(client) = self.client.take() {
            client.unmount()?;
        }
        share::drop_caches()?;
        share::wait_for_no_cookies()
    }

    /// Unmounts the client and mounts it again: all it has from now on is the cache.
    pub fn remount(&mut self) -> Result<()> {
        self.unmount()?;
        self.ready()
    }

    /// Replaces the module by the other one; `false` if the other is not known.
    pub fn load_other_module(&mut self) -> Result<bool> {
        let Some(path) = self.settings.other_module_path.clone() else {
            return Ok(false);
        };
        self.replace_module(&path)?;
        Ok(true)
    }

    /// Puts the module under test back.
    pub fn load_own_module(&mut self) -> Result<()> {
        let path = self.settings.module_path.clone();
        self.replace_module(&path)
    }

    fn replace_module(&mut self, path: &Path) -> Result<()> {
        self.remove_module()?;
        sys::load_module(path)?;
        self.ready()
    }

    fn remove_module(&mut self) -> Result<()> {
        self.unmount()?;
        if self.daemon.is_some() {
            self.take_daemon()?.stop()?;
        }
        sys::remove_unused_module(PATIENCE)
    }

    /// Counts what `work` causes, copying to the cache included.
    pub fn measure(
        &mut self,
        what: &str,
        work: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<Traffic> {
        settle()?;
        let counters = Counters::now()?;
        let bytes = self.server.bytes_read()?;
        work(self).with_context(|| what.to_owned())?;
        settle()?;
        let moved = Counters::now()?.since(&counters);
        let server_bytes = match (bytes, self.server.bytes_read()?) {
            (Some(before), Some(after)) => Some(after - before),
            _ => None,
        };
        let traffic = Traffic {
            what: what.to_owned(),
            moved,
            server_bytes,
        };
        self.notes.push(traffic.to_string());
        Ok(traffic)
    }

    /// The counts since the last call, for the report.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// After a step that failed: nothing that it left is to spoil the next one.
    pub fn reset(&mut self) {
        if self.daemon.as_mut().is_some_and(|daemon| !daemon.runs()) {
            self.notes.push(format!(
                "cachefilesd ended by itself: {}",
                cachefilesd::told()
            ));
        }
        self.client = None;
        self.daemon = None;
    }

    /// How much of the cache disk is free for others than root, in percent.
    pub fn free_percent() -> Result<u8> {
        let disk = rustix::fs::statvfs(sys::CACHE).context("asking for free space")?;
        let percent = disk.f_bavail * 100 / disk.f_blocks.max(1);
        u8::try_from(percent).context("more free than there is")
    }

    /// Ends everything. An error if anything is still in use.
    pub fn end(mut self) -> Result<()> {
        self.remove_module()?;
        if let Ok(slabs) = std::fs::read_to_string("/proc/slabinfo") {
            if let Some(line) = slabs.lines().find(|line| line.starts_with("cachefiles_")) {
                bail!("slab left behind: {line}");
            }
        }
        sys::unmount_patiently(sys::CACHE.as_ref(), PATIENCE)?;
        self.server.stop()
    }
}

/// Waits until netfs has nothing under way: what was read is copied to the cache later, by
/// writeback.
fn settle() -> Result<()> {
    rustix::fs::sync();
    sys::wait_for("netfs to have no request", PATIENCE, || {
        let idle = |counters: Counters| -> Result<bool> {
            Ok(counters.get("Objs.rr")? == 0 && counters.get("Objs.sr")? == 0)
        };
        Counters::now().and_then(idle).unwrap_or(false)
    })
}

/// What a piece of work caused.
pub struct Traffic {
    what: String,
    /// How far netfs's and fscache's counters moved.
    pub moved: Counters,
    /// What the server says it was asked for, where it does.
    pub server_bytes: Option<u64>,
}

impl std::fmt::Display for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.moved.moved())?;
        match self.server_bytes {
            Some(bytes) => write!(f, "; the server was asked for {bytes} bytes"),
            None => Ok(()),
        }
    }
}

impl Traffic {
    /// That data came from the server, and the cache failed in nothing.
    pub fn expect_cold(&self) -> Result<()> {
        let asked = self.server_bytes.is_none_or(|bytes| bytes > 0);
        ensure!(
            self.moved.downloads()? > 0 && asked,
            "nothing came from the server: {self}"
        );
        self.expect_no_failure()
    }

    /// That all data came from the cache.
    pub fn expect_warm(&self) -> Result<()> {
        ensure!(
            self.moved.downloads()? == 0 && self.server_bytes.unwrap_or(0) == 0,
            "the server was asked for data that the cache has: {self}"
        );
        ensure!(
            self.moved.cache_reads()? > 0,
            "nothing was read from the cache: {self}"
        );
        self.expect_no_failure()
    }

    /// That something was copied to the cache.
    pub fn expect_copied(&self) -> Result<()> {
        ensure!(
            self.moved.get("CaWrOps.WR")? > 0,
            "nothing was written to the cache: {self}"
        );
        Ok(())
    }

    /// That no access to server or cache failed, but for writes to a cache that was full.
    pub fn expect_no_failure(&self) -> Result<()> {
        for name in ["DownOps.df", "CaRdOps.rf", "UpldOps.uf"] {
            ensure!(self.moved.get(name)? == 0, "{name} is not zero: {self}");
        }
        ensure!(
            self.moved.get("CaWrOps.wf")? <= self.moved.get("NoSpace.nwr")?,
            "writes to the cache failed, and not for want of space: {self}"
        );
        Ok(())
    }
}
