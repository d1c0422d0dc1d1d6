// SPDX-License-Identifier: GPL-2.0
//! A daemon of as few instructions as possible: what is measured is the kernel's part.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_harness::task::{Task, soon};
use cachefiles_harness::{image::BLOCK, sys};
use cachefiles_protocol::{AlignedBuffer, Device, MAX_MESSAGE_SIZE, Message, ObjectFd, Open, Read};

use crate::image::PAGES;

/// The tag of the cache.
const TAG: &str = "bench";
/// How long one wait for a message lasts before a condition is looked at again.
const TICK: Duration = Duration::from_millis(2);
/// The most that is written at once.
const WRITE: usize = 1 << 18;

/// An open object.
pub struct Object {
    /// Its cookie key.
    pub key: Vec<u8>,
    /// Its fd.
    pub fd: ObjectFd,
}

/// What was taken from the device.
pub enum Taken {
    /// Nothing was there.
    Nothing,
    /// An OPEN, answered.
    Open,
    /// An OPEN that is held.
    HeldOpen(Open),
    /// A READ, not answered.
    Read(Read),
    /// A CLOSE.
    Close,
}

/// The daemon.
pub struct Daemon {
    /// The device.
    pub device: Arc<Device>,
    /// Objects by id.
    pub objects: HashMap<u32, Arc<Object>>,
    /// Content of primary blobs, by key. Every other blob exists, and has `pages` pages.
    pub images: HashMap<Vec<u8>, Arc<Vec<u8>>>,
    /// Size of the blobs that have no content.
    pub pages: u64,
    /// Leave OPENs of the keys that begin like this unanswered.
    pub hold: Option<&'static str>,
    /// Messages taken: OPEN, READ, CLOSE.
    pub counts: [usize; 3],
    data: AlignedBuffer,
}

impl Daemon {
    /// Opens the device and binds the cache.
    pub fn new() -> Result<Self> {
        let device = Device::open().context("opening the device")?;
        device
            .bind_ondemand(sys::CACHE.as_ref(), Some(TAG))
            .context("binding the cache")?;
        Ok(Self {
            device: Arc::new(device),
            objects: HashMap::new(),
            images: HashMap::new(),
            pages: PAGES,
            hold: None,
            counts: [0; 3],
            data: made_up(WRITE),
        })
    }

    /// How many messages were taken.
    pub fn messages(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Takes a message, and answers it if it is an OPEN.
    pub fn take(&mut self) -> Result<Taken> {
        let mut buffer = [0; MAX_MESSAGE_SIZE];
        match self.device.read_message(&mut buffer)? {
            None => Ok(Taken::Nothing),
            Some(Message::Open(open)) => {
                self.counts[0] += 1;
                if self
                    .hold
                    .is_some_and(|start| open.cookie_key.starts_with(start.as_bytes()))
                {
                    return Ok(Taken::HeldOpen(open));
                }
                self.accept(open)?;
                Ok(Taken::Open)
            }
            Some(Message::Read(read)) => {
                self.counts[1] += 1;
                Ok(Taken::Read(read))
            }
            Some(Message::Close(close)) => {
                self.counts[2] += 1;
                self.objects.remove(&close.object_id);
                Ok(Taken::Close)
            }
        }
    }

    /// Answers an OPEN.
    pub fn accept(&mut self, open: Open) -> Result<()> {
        let size = match self.images.get(&open.cookie_key) {
            Some(image) => image.len() as u64,
            None => self.pages * BLOCK as u64,
        };
        self.device.copen(open.msg_id, Ok(size)).context("copen")?;
        self.objects.insert(
            open.object_id,
            Arc::new(Object {
                key: open.cookie_key,
                fd: open.fd,
            }),
        );
        Ok(())
    }

    /// Fetches what a READ asks for, and completes it.
    pub fn answer(&self, read: &Read) -> Result<()> {
        let object = self
            .objects
            .get(&read.object_id)
            .context("READ of an unknown object")?;
        answer(
            object,
            self.images.get(&object.key).map(|image| image.as_slice()),
            &self.data,
            read,
        )
    }

    /// Puts made-up data in the cache without being asked.
    pub fn prefill(&self, key: &[u8], off: u64, len: u64) -> Result<()> {
        let object = self.objects.values().find(|object| object.key == key);
        fill(&object.context("no such object")?.fd, &self.data, off, len)
    }

    /// Takes and answers one message, waiting for it for a while.
    pub fn serve_one(&mut self) -> Result<bool> {
        if !self.device.wait_readable(Some(TICK))? {
            return Ok(false);
        }
        match self.take()? {
            Taken::Read(read) => self.answer(&read).map(|()| true),
            Taken::HeldOpen(_) => bail!("an OPEN while none is expected"),
            _ => Ok(true),
        }
    }

    /// Serves until `done`.
    pub fn serve_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Result<()> {
        let end = Instant::now() + 10 * soon();
        while !done(self) {
            ensure!(Instant::now() < end, "gave up waiting for: {what}");
            self.serve_one()?;
        }
        Ok(())
    }

    /// Serves while something is done on another thread.
    pub fn serve_during<T: Send + 'static>(
        &mut self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let task = Task::start("a call", call);
        self.serve_until("a call to return", |_| task.is_done())?;
        task.finish()
    }

    /// Mounts an image whose primary blob is `image`.
    pub fn mount(&mut self, fsid: &str, image: Vec<u8>, more: &str) -> Result<Mount> {
        self.images
            .insert(fsid.as_bytes().to_vec(), Arc::new(image));
        let path = Path::new("/mnt").join(fsid);
        std::fs::create_dir_all(&path)?;
        let (target, options) = (path.clone(), format!("fsid={fsid}{more}"));
        let task = Task::start("mount", move || {
            sys::mount_erofs(&target, options.as_bytes())
        });
        self.serve_until("a mount", |_| task.is_done())?;
        task.finish()?.with_context(|| format!("mounting {fsid}"))?;
        self.serve_until("lookups", |_| sys::lookups_done().unwrap_or(false))?;
        Ok(Mount { path })
    }

    /// Unmounts, and serves until the kernel knows no object any more.
    pub fn unmount(&mut self, mount: Mount) -> Result<()> {
        self.begin_unmount(mount, |_, _| Ok(()))?;
        self.serve_until("cookies to go", |_| sys::nothing_cached())
    }

    /// Unmounts; `serve` is called after each message, with whether unmounting has returned.
    pub fn begin_unmount(
        &mut self,
        mount: Mount,
        mut serve: impl FnMut(&mut Self, bool) -> Result<()>,
    ) -> Result<()> {
        let path = mount.path;
        let task = Task::start("unmount", move || sys::unmount_patiently(&path, soon()));
        while !task.is_done() {
            self.serve_one()?;
            serve(self, false)?;
        }
        task.finish()??;
        serve(self, true)
    }

    /// Whether poll says that there is something.
    pub fn poll(&self) -> Result<bool> {
        Ok(self.device.wait_readable(Some(Duration::ZERO))?)
    }

    /// One read of the device, decoded by nobody.
    pub fn read_raw(&self, buffer: &mut [u8]) -> Result<usize> {
        Ok(rustix::io::read(self.device.as_fd(), buffer)?)
    }
}

/// Writes what a READ asks for, of `image` or made up, and completes it.
pub fn answer(object: &Object, image: Option<&[u8]>, data: &[u8], read: &Read) -> Result<()> {
    match image {
        Some(image) => {
            let start = usize::try_from(read.off)?;
            let end = (start + usize::try_from(read.len)?).min(image.len());
            let mut buffer = AlignedBuffer::new(end - start);
            buffer[..end - start].copy_from_slice(&image[start..end]);
            object.fd.write_at(&buffer, read.off)?;
        }
        None => fill(&object.fd, data, read.off, read.len)?,
    }
    object.fd.complete_read(read.msg_id).context("cread")
}

/// Data for blobs that have no content.
pub fn made_up(length: usize) -> AlignedBuffer {
    let mut data = AlignedBuffer::new(length);
    data.fill(0x5a);
    data
}

fn fill(fd: &ObjectFd, data: &[u8], off: u64, len: u64) -> Result<()> {
    let end = (off + len).next_multiple_of(BLOCK as u64);
    let mut at = off - off % BLOCK as u64;
    while at < end {
        let length = data.len().min(usize::try_from(end - at)?);
        fd.write_at(&data[..length], at)
            .context("writing to the cache")?;
        at += length as u64;
    }
    Ok(())
}

/// A mounted image.
pub struct Mount {
    /// Where.
    pub path: PathBuf,
}

impl Mount {
    /// A file in it.
    pub fn file(&self, number: usize) -> PathBuf {
        self.path.join(crate::image::file(number))
    }
}
