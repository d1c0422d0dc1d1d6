// SPDX-License-Identifier: GPL-2.0
//! A FUSE file system of one file that is fetched as it is read: what somebody would write in Rust
//! in place of an on-demand daemon. Once all of the file is here the kernel reads it by itself.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use cachefiles_harness::sys;
use cachefiles_harness::task::soon;
use fuser::{
    BackgroundSession, BackingId, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, Request, Session, SessionACL,
};

use super::local::Local;

/// Threads that take requests, each by an fd of its own. None of them waits for the server.
const THREADS: usize = 4;
/// Readahead requests under way before the kernel sends no more: 12 if nobody says.
const BACKGROUND: u16 = 64;
/// How long the kernel may believe names and attributes: nothing ever changes.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// The file's number.
const FILE: INodeNo = INodeNo(2);
/// Handles of an open file: its reads come here, or the kernel does them.
const HERE: FileHandle = FileHandle(1);
const PASSED: FileHandle = FileHandle(2);

/// How often the file was opened.
#[derive(Default)]
struct Opens {
    /// Open now, with reads that come here.
    here: AtomicUsize,
    /// Opened so far with reads that the kernel does.
    passed: AtomicUsize,
}

struct OneFile {
    name: &'static str,
    local: Arc<Local>,
    /// Where the file lies that the kernel may read by itself.
    path: PathBuf,
    backing: Mutex<Option<BackingId>>,
    opens: Arc<Opens>,
}

impl OneFile {
    fn attributes(&self, number: INodeNo) -> FileAttr {
        let is_file = number == FILE;
        let size = if is_file { self.local.size() as u64 } else { 0 };
        FileAttr {
            ino: number,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file {
                FileType::RegularFile
            } else {
                FileType::Directory
            },
            perm: if is_file { 0o444 } else { 0o555 },
            nlink: if is_file { 1 } else { 2 },
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Opens the file for the kernel, if all of it is here and no other open of it is the kernel's
    /// to cache: it refuses to have both.
    fn pass(&self, reply: &ReplyOpen, backing: &mut Option<BackingId>) -> io::Result<bool> {
        if !self.local.is_complete() || self.opens.here.load(Ordering::SeqCst) > 0 {
            return Ok(false);
        }
        if backing.is_none() {
            *backing = Some(reply.open_backing(File::open(&self.path)?)?);
        }
        Ok(true)
    }
}

impl Filesystem for OneFile {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let refused = |what| io::Error::other(format!("refused: {what}"));
        config
            .add_capabilities(InitFlags::FUSE_PASSTHROUGH)
            .map_err(|flags| refused(format!("{flags:?}")))?;
        // The file may lie on a file system that lies on no other.
        config
            .set_max_stack_depth(1)
            .map_err(|most| refused(format!("a depth over {most}")))?;
        config
            .set_max_background(BACKGROUND)
            .map_err(|least| refused(format!("a background under {least}")))?;
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == self.name {
            reply.entry(&FOREVER, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        reply.attr(&FOREVER, &self.attributes(number));
    }

    fn open(&self, _request: &Request, _number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let mut backing = self.backing.lock().unwrap_or_else(PoisonError::into_inner);
        match self.pass(&reply, &mut backing) {
            Ok(true) => {
                self.opens.passed.fetch_add(1, Ordering::SeqCst);
                if let Some(backing) = &*backing {
                    reply.opened_passthrough(PASSED, FopenFlags::FOPEN_NOFLUSH, backing);
                }
            }
            Ok(false) => {
                self.opens.here.fetch_add(1, Ordering::SeqCst);
                let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
                reply.opened(HERE, flags);
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.local
            .read(offset, size as usize, move |bytes| match bytes {
                Ok(bytes) => reply.data(bytes),
                Err(error) => reply.error(error.into()),
            });
    }

    fn release(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if handle == HERE {
            self.opens.here.fetch_sub(1, Ordering::SeqCst);
        }
        reply.ok();
    }
}

/// Such a file system, mounted.
pub struct Mounted {
    session: BackgroundSession,
    opens: Arc<Opens>,
}

impl Mounted {
    /// Mounts one at `root` whose only file has this name, and is cached at `path`.
    pub fn new(root: &Path, name: &'static str, local: Arc<Local>, path: &Path) -> Result<Self> {
        let opens = Arc::new(Opens::default());
        let fs = OneFile {
            name,
            local,
            path: path.to_owned(),
            backing: Mutex::new(None),
            opens: Arc::clone(&opens),
        };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::DefaultPermissions];
        config.acl = SessionACL::All;
        config.n_threads = Some(THREADS);
        config.clone_fd = true;
        fs::create_dir_all(root)?;
        let session = Session::new(fs, root, &config).context("mounting by FUSE")?;
        Ok(Self {
            session: session.spawn()?,
            opens,
        })
    }

    /// Waits until no file is open any more whose reads came here: the kernel tells it late.
    pub fn settle(&self) -> Result<()> {
        sys::wait_for("files to be released", soon(), || {
            self.opens.here.load(Ordering::SeqCst) == 0
        })
    }

    /// How often the file was opened in such a way that the kernel reads it by itself.
    pub fn passed(&self) -> usize {
        self.opens.passed.load(Ordering::SeqCst)
    }

    /// Unmounts.
    pub fn unmount(self) -> Result<()> {
        self.session.umount_and_join().context("unmounting FUSE")
    }
}
