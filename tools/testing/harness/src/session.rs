// SPDX-License-Identifier: GPL-2.0
//! The daemon of the tests, step by step: it answers from a table of blobs, holds what it is told
//! to hold, keeps count, and can die at any point by dropping its fds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use cachefiles_protocol::{
    AlignedBuffer, Device, Errno, MAX_MESSAGE_SIZE, Message, ObjectFd, Open, Read, page_size,
};

use crate::image::Image;
use crate::sys;
use crate::task::{Task, soon};

/// Cookie key to content.
pub type Blobs = BTreeMap<Vec<u8>, Arc<Vec<u8>>>;

/// How long one wait for the device lasts before the condition is looked at again.
const TICK: Duration = Duration::from_millis(10);

/// An object as the daemon knows it.
pub struct Object {
    /// Which blob it is.
    pub key: Vec<u8>,
    /// Where its data goes.
    pub fd: ObjectFd,
}

/// What came from the kernel, in order.
#[derive(Default)]
pub struct Log {
    /// Message id, object id and cookie key of every OPEN.
    pub opens: Vec<(u32, u32, Vec<u8>)>,
    /// Every READ.
    pub reads: Vec<Read>,
    /// The object id of every CLOSE.
    pub closes: Vec<u32>,
    /// Answers that the kernel refused with EINVAL: the request was gone.
    pub late: usize,
}

/// Decides which READ is held instead of answered: by cookie key and request.
pub type HoldRead = Box<dyn FnMut(&[u8], &Read) -> bool + Send>;

/// The state of a daemon.
pub struct Session {
    /// The device, shared with whoever plays its holder.
    pub device: Arc<Device>,
    /// What it can serve.
    pub blobs: Blobs,
    /// Sizes that it gives for blobs instead of the true ones.
    pub sizes: BTreeMap<Vec<u8>, u64>,
    /// Its open objects, by object id.
    pub objects: BTreeMap<u32, Object>,
    /// READs that were taken and not answered.
    pub held: Vec<Read>,
    /// OPENs that were taken and not answered.
    pub held_opens: Vec<Open>,
    /// Hold every OPEN.
    pub hold_opens: bool,
    /// Which READs to hold.
    pub hold_reads: Option<HoldRead>,
    /// What came so far.
    pub log: Log,
}

/// A mount that is under way.
pub type MountTask = Task<Result<Mount, Errno>>;

/// An EROFS that is mounted; taken down, whatever uses it, when dropped.
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// What somebody mounted here.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unmounts in the background, for the daemon may have to do its part.
    pub fn unmount(self) -> Task<Result<()>> {
        Task::start(format!("unmounting {}", self.path.display()), move || {
            sys::unmount_patiently(&self.path, soon())
        })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // EINVAL if it was unmounted in order, which is the usual case.
        let _ = sys::detach(&self.path);
    }
}

/// The table of what an image consists of, with `fsid` as the key of its primary blob.
pub fn blobs_of(fsid: &str, image: &Image) -> Blobs {
    let mut blobs: Blobs = image
        .blobs
        .iter()
        .map(|(key, data)| (key.clone(), Arc::new(data.clone())))
        .collect();
    blobs.insert(fsid.as_bytes().to_vec(), Arc::new(image.primary.clone()));
    blobs
}

impl Session {
    /// A daemon on a bound device.
    pub fn new(device: Arc<Device>, blobs: Blobs) -> Self {
        Self {
            device,
            blobs,
            sizes: BTreeMap::new(),
            objects: BTreeMap::new(),
            held: Vec::new(),
            held_opens: Vec::new(),
            hold_opens: false,
            hold_reads: None,
            log: Log::default(),
        }
    }

    /// Holds every READ of file data: all but the metadata in `fsid`'s primary blob.
    pub fn hold_data(&mut self, fsid: &str, image: &Image) {
        let (fsid, start) = (fsid.as_bytes().to_vec(), image.data_start);
        self.hold_reads = Some(Box::new(move |key, read| key != fsid || read.off >= start));
    }

    /// Takes messages and answers or holds them until `done`; an error if that takes too long.
    pub fn pump_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Result<()> {
        let end = Instant::now() + soon();
        while !done(self) {
            ensure!(
                Instant::now() < end,
                "gave up after {:?} waiting for: {what} (held {} OPEN, {} READ; got {} OPEN, {} READ, {} CLOSE)",
                soon(),
                self.held_opens.len(),
                self.held.len(),
                self.log.opens.len(),
                self.log.reads.len(),
                self.log.closes.len()
            );
            if self.device.wait_readable(Some(TICK))? {
                self.step()?;
            }
        }
        Ok(())
    }

    /// Serves for a while.
    pub fn pump_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        self.pump_until("the time to pass", |_| Instant::now() >= end)
    }

    /// Takes one message if there is one, and answers or holds it.
    pub fn step(&mut self) -> Result<()> {
        let mut buffer = [0; MAX_MESSAGE_SIZE];
        match self.device.read_message(&mut buffer)? {
            None => Ok(()),
            Some(message) => self.take(message),
        }
    }

    /// Answers or holds a message.
    pub fn take(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Open(open) => {
                self.log
                    .opens
                    .push((open.msg_id, open.object_id, open.cookie_key.clone()));
                if self.hold_opens {
                    self.held_opens.push(open);
                    return Ok(());
                }
                self.answer_open(open)
            }
            Message::Read(read) => {
                self.log.reads.push(read);
                let key = match self.objects.get(&read.object_id) {
                    Some(object) => &object.key,
                    None => bail!("READ of object {}, which is not open", read.object_id),
                };
                if self
                    .hold_reads
                    .as_mut()
                    .is_some_and(|hold| hold(key, &read))
                {
                    self.held.push(read);
                    return Ok(());
                }
                self.answer_read(&read)
            }
            Message::Close(close) => {
                self.log.closes.push(close.object_id);
                self.objects.remove(&close.object_id);
                Ok(())
            }
        }
    }

    /// Accepts an OPEN with the size of its blob, or refuses it with ENOENT.
    pub fn answer_open(&mut self, open: Open) -> Result<()> {
        let key = &open.cookie_key;
        let size = match (self.sizes.get(key), self.blobs.get(key)) {
            (Some(size), _) => Ok(*size),
            (None, Some(blob)) => Ok(blob.len() as u64),
            (None, None) => Err(Errno::NOENT),
        };
        let answer = self.device.copen(open.msg_id, size);
        let known = self.blobs.contains_key(key);
        let late = self.judge(answer, "copen")?;
        if known && !late {
            let object = Object {
                key: open.cookie_key,
                fd: open.fd,
            };
            self.objects.insert(open.object_id, object);
        }
        Ok(())
    }

    /// Fetches what a READ asks for, and completes it.
    pub fn answer_read(&mut self, read: &Read) -> Result<()> {
        self.fill(read.object_id, read.off, read.len)?;
        let answer = self.object(read.object_id)?.fd.complete_read(read.msg_id);
        self.judge(answer, "cread").map(drop)
    }

    /// Answers all held READs, the last first.
    pub fn answer_held_backwards(&mut self) -> Result<()> {
        while let Some(read) = self.held.pop() {
            self.answer_read(&read)?;
        }
        Ok(())
    }

    /// Writes a part of an object's blob to the cache.
    pub fn fill(&mut self, object_id: u32, off: u64, len: u64) -> Result<()> {
        let object = self.object(object_id)?;
        let blob = self
            .blobs
            .get(&object.key)
            .context("an object without a blob")?;
        let end = (off + len).min((blob.len() as u64).next_multiple_of(page_size()));
        let start = off - off % page_size();
        ensure!(end > start, "asked for {off}+{len} of {} bytes", blob.len());
        let mut buffer = AlignedBuffer::new(usize::try_from(end - start)?);
        let from = usize::try_from(start)?;
        let part = blob.get(from..).unwrap_or_default();
        let length = part.len().min(buffer.len());
        buffer[..length].copy_from_slice(&part[..length]);
        object
            .fd
            .write_at(&buffer, start)
            .with_context(|| format!("writing {} bytes at {start} to the cache", buffer.len()))
    }

    /// An open object.
    pub fn object(&self, object_id: u32) -> Result<&Object> {
        self.objects
            .get(&object_id)
            .ok_or_else(|| anyhow!("object {object_id} is not open"))
    }

    /// The open object of a key.
    pub fn object_of(&self, key: &[u8]) -> Result<(u32, &Object)> {
        self.objects
            .iter()
            .find(|(_, object)| object.key == key)
            .map(|(id, object)| (*id, object))
            .with_context(|| format!("no open object {}", String::from_utf8_lossy(key)))
    }

    /// EINVAL means that the request is gone, which happens to the best of daemons.
    fn judge(&mut self, answer: Result<(), Errno>, what: &str) -> Result<bool> {
        match answer {
            Ok(()) => Ok(false),
            Err(Errno::INVAL) => {
                self.log.late += 1;
                Ok(true)
            }
            Err(errno) => Err(errno).with_context(|| format!("{what} failed")),
        }
    }

    /// Loses everything that a daemon loses when it is killed: its fds and its memory.
    pub fn crash(&mut self) {
        self.objects.clear();
        self.held.clear();
        self.held_opens.clear();
    }

    /// Mounts at `path`, serving meanwhile.
    pub fn try_mount(&mut self, path: &Path, options: &[u8]) -> Result<Result<Mount, Errno>> {
        fs::create_dir_all(path)?;
        let (target, bytes) = (path.to_owned(), options.to_vec());
        let task = Task::start("mount", move || sys::mount_erofs(&target, &bytes));
        self.pump_until("mount to return", |_| task.is_done())?;
        Ok(task.finish()?.map(|()| Mount {
            path: path.to_owned(),
        }))
    }

    /// The same, where it must succeed.
    pub fn mount(&mut self, path: &Path, options: impl AsRef<[u8]>) -> Result<Mount> {
        let options = options.as_ref();
        let mount = self
            .try_mount(path, options)?
            .with_context(|| format!("mount with {}", String::from_utf8_lossy(options)))?;
        // Devices are looked up in the background: let them be there before a test goes on.
        self.pump_until("all lookups to end", |_| {
            sys::lookups_done().unwrap_or(false)
        })?;
        Ok(mount)
    }

    /// Starts a mount that is not waited for.
    pub fn mount_in_background(&self, path: &Path, options: impl AsRef<[u8]>) -> Result<MountTask> {
        fs::create_dir_all(path)?;
        let (target, bytes) = (path.to_owned(), options.as_ref().to_vec());
        Ok(Task::start("mount", move || {
            sys::mount_erofs(&target, &bytes).map(|()| Mount { path: target })
        }))
    }

    /// Unmounts, and serves until the kernel has let go of all objects and volumes.
    pub fn unmount(&mut self, mount: Mount) -> Result<()> {
        let task = mount.unmount();
        self.pump_until("unmount to return", |_| task.is_done())?;
        task.finish()?
    }

    /// Serves until no cookie and no volume is left.
    pub fn settle(&mut self) -> Result<()> {
        self.pump_until("all cookies and volumes to go", |_| sys::nothing_cached())
    }

    /// Reads a file, serving meanwhile.
    pub fn read_file(&mut self, path: &Path) -> Result<Vec<u8>> {
        let task = crate::task::read_in_background(path);
        self.pump_until("a read to return", |_| task.is_done())?;
        task.finish()?
            .with_context(|| format!("reading {}", path.display()))
    }

    /// Looks a file up, so that what reading it takes is its data only.
    pub fn look_up(&mut self, path: &Path) -> Result<()> {
        let name = path.to_owned();
        let task = Task::start("looking up", move || fs::metadata(name));
        self.pump_until("a look-up to return", |_| task.is_done())?;
        task.finish()?.context("looking up").map(drop)
    }

    /// Reads every file of an image, and compares.
    pub fn check_files(&mut self, mount: &Mount, image: &Image) -> Result<()> {
        for (name, expected) in &image.files {
            let seen = self.read_file(&mount.file(name))?;
            ensure!(
                seen == *expected,
                "{name} differs from what was put into the image"
            );
        }
        Ok(())
    }

    /// Lets it run on a thread of its own.
    pub fn run(mut self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                if self.device.wait_readable(Some(TICK))? {
                    self.step()?;
                }
            }
            Ok(self)
        });
        Running { stop, thread }
    }
}

/// A session on a thread.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Session>>,
}

impl Running {
    /// Stops it, and gives the session back; its error if it met one.
    pub fn stop(self) -> Result<Session> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the daemon thread panicked"))?
    }
}
