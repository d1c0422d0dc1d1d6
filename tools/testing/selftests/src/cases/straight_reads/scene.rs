// SPDX-License-Identifier: GPL-2.0
//! A file that somebody waits for, and how often cache files are read.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Result, ensure};
use cachefiles_protocol::{AlignedBuffer, Read};

use crate::cases::async_reads::ahead::{WINDOW, holding, plain, want};
use crate::cases::gates::set;
use crate::cases::tracepoint::trace_of_events;
use crate::context::Context;
use crate::image::Image;
use crate::session::{Mount, Session};
use crate::share::drop_caches;
use crate::sys;
use crate::task::Task;

/// How readers wait: in their task, and without one.
pub(in crate::cases) const MANNERS: [&str; 2] = ["0", "1"];

pub(in crate::cases) fn switch_on(is_async: &str) -> Result<()> {
    set("async_reads", is_async)?;
    set("straight_reads", "1")
}

/// How often a cache file is read while `work` is done.
pub(in crate::cases) fn reads_of_files(work: impl FnOnce() -> Result<()>) -> Result<usize> {
    let trace = trace_of_events(&["cachefiles/cachefiles_read"], work)?;
    let is_read = |line: &&str| line.contains(" cachefiles_read: ");
    Ok(trace.lines().filter(is_read).count())
}

/// A file of one window that somebody waits for, and its READ.
pub(in crate::cases) struct Scene {
    pub(in crate::cases) session: Session,
    pub(in crate::cases) mount: Mount,
    pub(in crate::cases) image: Image,
    pub(in crate::cases) read: Read,
    pub(in crate::cases) reader: Task<Result<()>>,
}

impl Scene {
    pub(in crate::cases) fn new(ctx: &Context, is_async: &str) -> Result<Self> {
        switch_on(is_async)?;
        let image = plain(1);
        let (mut session, mount) = holding(ctx, &image)?;
        let reader = want(&mount.file("file"));
        session.pump_until("the READ", |session| !session.held.is_empty())?;
        let read = session.held.remove(0);
        ensure!(
            read.len == WINDOW as u64,
            "a READ of {} bytes, of what is read ahead",
            read.len
        );
        Ok(Self {
            session,
            mount,
            image,
            read,
            reader,
        })
    }

    pub(in crate::cases) fn right(&self) -> Vec<u8> {
        self.image.files["file"].clone()
    }

    /// The daemon writes `data`, `at` bytes into the range.
    pub(in crate::cases) fn write(&self, data: &[u8], at: usize) -> Result<()> {
        let object = self.session.object(self.read.object_id)?;
        let off = self.read.off + at as u64;
        Ok(object.fd.write_at(&aligned(data), off)?)
    }

    pub(in crate::cases) fn fd(&self) -> Result<OwnedFd> {
        let object = self.session.object(self.read.object_id)?;
        Ok(object.fd.as_fd().try_clone_to_owned()?)
    }

    /// The daemon is done. Returns what is seen then, without the disk where nothing was read, and
    /// after that with it; and how often the file was read before.
    pub(in crate::cases) fn answered(&mut self) -> Result<(Vec<u8>, Vec<u8>, usize)> {
        let mut seen = Vec::new();
        let reads = reads_of_files(|| {
            let object = self.session.object(self.read.object_id)?;
            object.fd.complete_read(self.read.msg_id)?;
            let reader = &self.reader;
            self.session
                .pump_until("the reader to end", |_| reader.is_done())?;
            seen = self.session.read_file(&self.mount.file("file"))?;
            Ok(())
        })?;
        drop_caches()?;
        let again = self.session.read_file(&self.mount.file("file"))?;
        Ok((seen, again, reads))
    }

    /// What the reader sees is this, and what the file has as well.
    pub(in crate::cases) fn expect(&mut self, expected: &[u8], what: &str) -> Result<usize> {
        let (seen, again, reads) = self.answered()?;
        ensure!(again == expected, "{what}: the file has something else");
        ensure!(seen == expected, "{what}: the reader sees something else");
        Ok(reads)
    }

    /// Takes it down, whatever was written.
    pub(in crate::cases) fn close(self) -> Result<()> {
        let Self {
            mut session,
            mount,
            reader,
            ..
        } = self;
        session.pump_until("the reader to end", |_| reader.is_done())?;
        reader.finish()??;
        session.unmount(mount)?;
        session.settle()?;
        drop(session);
        sys::empty_cache()
    }
}

pub(in crate::cases) fn aligned(data: &[u8]) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::new(data.len());
    buffer.copy_from_slice(data);
    buffer
}
