// SPDX-License-Identifier: GPL-2.0
//! A daemon that goes on when one of its calls fails, as a good one does: what it could not answer
//! it has the kernel hand out again, by `restore`. It gives up only when the cache is dead.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_harness::image::Image;
use cachefiles_harness::session::{Session, blobs_of};
use cachefiles_harness::sys;
use cachefiles_harness::task::{Task, soon};
use cachefiles_protocol::{Device, Errno, ReceiveError};

use crate::inject::Fault;

/// How long one wait for the device lasts before the condition is looked at again.
const TICK: Duration = Duration::from_millis(10);

/// A daemon, and what it serves.
pub struct Daemon {
    /// What answers.
    pub session: Session,
    /// The image behind its blobs.
    pub image: Image,
    /// The cache died: nothing will come any more.
    pub is_dead: bool,
}

impl Daemon {
    /// A daemon on a bound device.
    pub fn new(device: Device, fsid: &str, image: Image) -> Self {
        Self {
            session: Session::new(Arc::new(device), blobs_of(fsid, &image)),
            image,
            is_dead: false,
        }
    }

    /// Serves until `done`.
    pub fn serve_until(
        &mut self,
        what: &str,
        mut done: impl FnMut(&Session) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + soon();
        while !done(&self.session) {
            ensure!(
                Instant::now() < end,
                "hangs: {what} has not ended after {:?} ({} objects open, got {} OPEN, {} READ, {} CLOSE)",
                soon(),
                self.session.objects.len(),
                self.session.log.opens.len(),
                self.session.log.reads.len(),
                self.session.log.closes.len()
            );
            if self.is_dead {
                std::thread::sleep(TICK);
            } else if self.session.device.wait_readable(Some(TICK))?
                && let Err(error) = self.session.step()
            {
                self.recover(&error)?;
            }
        }
        Ok(())
    }

    /// What was taken and could not be answered is to come again.
    fn recover(&mut self, error: &anyhow::Error) -> Result<()> {
        let errno = match error.downcast_ref::<ReceiveError>() {
            Some(ReceiveError::Read(errno)) => Some(*errno),
            Some(ReceiveError::Decode(_)) => None,
            None => error.downcast_ref::<Errno>().copied(),
        };
        ensure!(errno.is_some(), "the daemon: {error:#}");
        for _ in 0..3 {
            match self.session.device.restore() {
                Ok(()) => return Ok(()),
                Err(Errno::IO) => {
                    self.is_dead = true;
                    return Ok(());
                }
                Err(_) => {}
            }
        }
        bail!("restore fails over and over, after: {error:#}")
    }

    /// Does something that may have to wait for the daemon, on a thread of its own.
    pub fn during<T: Send + 'static>(
        &mut self,
        what: &str,
        fault: &Fault,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let fault = fault.clone();
        let task = Task::start(what, move || fault.in_thread(call));
        self.serve_until(what, |_| task.is_done())?;
        task.finish()?
    }

    /// The same without a failure of its own.
    pub fn calmly<T: Send + 'static>(
        &mut self,
        what: &str,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let task = Task::start(what, call);
        self.serve_until(what, |_| task.is_done())?;
        task.finish()
    }

    /// Mounts, and lets the look-ups behind it end.
    pub fn mount(
        &mut self,
        point: &Path,
        options: &str,
        fault: Option<&Fault>,
    ) -> Result<Result<Mounted, Errno>> {
        fs::create_dir_all(point)?;
        let (target, bytes) = (point.to_owned(), options.as_bytes().to_vec());
        let call = move || sys::mount_erofs(&target, &bytes);
        let result = match fault {
            Some(fault) => self.during("mount", fault, call)?,
            None => self.calmly("mount", call)?,
        };
        self.serve_until("the look-ups behind a mount", |_| {
            looked_up().unwrap_or(false)
        })?;
        Ok(result.map(|()| Mounted {
            point: point.to_owned(),
        }))
    }

    /// Unmounts, and serves until the kernel has let go of all objects and volumes, and the daemon
    /// as well.
    pub fn unmount(&mut self, mounted: Mounted, fault: Option<&Fault>) -> Result<()> {
        let call = move || mounted.unmount();
        match fault {
            Some(fault) => self.during("unmounting", fault, call)??,
            None => self.calmly("unmounting", call)??,
        }
        self.settle()
    }

    /// Unmounts one of several mounts.
    pub fn unmount_one(&mut self, mounted: Mounted) -> Result<()> {
        self.calmly("unmounting", move || mounted.unmount())?
    }

    /// Serves until no cookie and no volume is left, and every object was closed.
    pub fn settle(&mut self) -> Result<()> {
        self.serve_until("the end of all cookies and volumes", |_| {
            sys::nothing_cached()
        })?;
        let left = self.session.objects.len();
        ensure!(
            left == 0 || self.is_dead,
            "{left} objects are gone, and the daemon was not told"
        );
        Ok(())
    }

    /// Reads a file. What is read has to be right; that it cannot be read is an error of the inner
    /// kind.
    pub fn read(
        &mut self,
        mounted: &Mounted,
        name: &str,
        fault: Option<&Fault>,
    ) -> Result<Result<(), Errno>> {
        let path = mounted.point.join(name);
        let call = move || fs::read(path);
        let result = match fault {
            Some(fault) => self.during("a read", fault, call)?,
            None => self.calmly("a read", call)?,
        };
        let expected = self.image.files.get(name).context("no such file")?;
        match result {
            Ok(seen) => {
                ensure!(seen == *expected, "{name} reads back wrong");
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
        }
    }

    /// That every file can be read, and is right.
    pub fn check(&mut self, mounted: &Mounted) -> Result<()> {
        let names: Vec<String> = self.image.files.keys().cloned().collect();
        for name in names {
            self.read(mounted, &name, None)?
                .with_context(|| format!("reading {name} once nothing fails any more"))?;
        }
        Ok(())
    }
}

/// A mounted image. Dropping it takes it out of the tree.
pub struct Mounted {
    point: PathBuf,
}

impl Mounted {
    /// What somebody else mounted there.
    pub fn at(point: &Path) -> Self {
        Self {
            point: point.to_owned(),
        }
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    /// Unmounts it, where nobody has to do anything for that.
    pub fn unmount(self) -> Result<()> {
        sys::unmount_patiently(&self.point, soon())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // EINVAL if it was unmounted in order, which is the usual case.
        let _ = sys::detach(&self.point);
    }
}

/// Whether no cookie is being looked up any more. One whose look-up failed is as if it never was.
pub fn looked_up() -> Result<bool> {
    let waits = |row: &String| matches!(row.split_whitespace().nth(5), Some("L" | "C"));
    Ok(!sys::fscache_table("cookies")?.iter().any(waits))
}
