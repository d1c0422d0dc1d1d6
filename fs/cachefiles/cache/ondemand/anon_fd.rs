// SPDX-License-Identifier: GPL-2.0

//! The anonymous fd of an object: how the daemon writes its data and completes its reads.

use super::fetched::write_from_daemon;
use crate::cache::object::Object;
use crate::cache::Pin;
use cachefiles_trace::{self as trace, RefWhy};
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicI64, Ordering};
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;
use kernel_ext::anon_file::{oflags, AnonFile, AnonFileOps, FileDescriptorReservation, KiocbRef};
use kernel_ext::errno::{ENOBUFS, EOPNOTSUPP};
use kernel_ext::fs::Whence;
use kernel_ext::gfp::Gfp;
use kernel_ext::io::IovIterSource;
use kernel_ext::slab::{Slab, SlabBox};

/// `_IOW(0x98, 1, int)`: the READ whose id is the argument is done.
const READ_COMPLETE: u32 = kernel::ioctl::_IOW::<i32>(0x98, 1);

/// What an anonymous fd stands for. Dropped when its last duplicate is closed.
pub(crate) struct ObjectFd {
    /// A traced reference.
    object: Arc<Object>,
    id: NonZeroU32,
    /// Where the last `lseek()` went. Not where `write()` goes on: that is the kiocb's position,
    /// which `lseek()` leaves alone, so that a daemon may look for holes between its writes.
    position: AtomicI64,
    /// Goes last: with it the cache may be withdrawn.
    _pin: Arc<Pin>,
}

/// Where they are kept: one for each object in use.
pub(crate) static SLAB: Slab<ObjectFd> = Slab::new(kernel::c_str!("cachefiles_object_fd"));

impl ObjectFd {
    pub(super) fn new(object: Arc<Object>, id: NonZeroU32, pin: Arc<Pin>) -> Self {
        object.trace_get(RefWhy::GetOndemandFd);
        Self {
            object,
            id,
            position: AtomicI64::new(0),
            _pin: pin,
        }
    }

    pub(super) fn id(&self) -> NonZeroU32 {
        self.id
    }
}

impl Drop for ObjectFd {
    fn drop(&mut self) {
        if let Some(engine) = self.object.engine() {
            engine.fd_closed(&self.object, self.id);
            drop(engine.fds.remove(self.id.get()));
            engine.fd_ids.free(self.id.get());
        }
        trace::ondemand_fd_release(self.object.debug_id(), self.id.get() as i32);
        self.object.trace_put(RefWhy::PutOndemandFd);
    }
}

/// An anonymous fd that user space can't use yet.
pub(super) struct NewFd {
    file: AnonFile<Operations>,
    id: NonZeroU32,
}

impl NewFd {
    pub(super) fn object_id(&self) -> NonZeroU32 {
        self.id
    }

    /// Hands the file to the daemon.
    pub(super) fn install(self, fd: FileDescriptorReservation) {
        fd.install(self.file);
    }
}

/// Makes the file. Errors: ENOMEM, ENFILE.
pub(super) fn create(fd: ObjectFd) -> Result<NewFd> {
    let id = fd.id;
    let data = SLAB.created()?.alloc(Gfp::Kernel)?.write(fd);
    let file = AnonFile::create(&crate::THIS_MODULE, data, oflags::O_WRONLY)
        .map_err(|(error, _)| error)?;
    Ok(NewFd { file, id })
}

/// What can be done with the fd.
struct Operations;

impl AnonFileOps for Operations {
    const NAME: &'static CStr = kernel::c_str!("[cachefiles]");
    type Data = ObjectFd;

    fn release(fd: SlabBox<ObjectFd>) {
        drop(fd);
    }

    #[inline]
    fn write(
        fd: &ObjectFd,
        kiocb: &mut KiocbRef<'_>,
        iter: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let written = write_from_daemon(&fd.object, kiocb.pos(), iter)?;
        kiocb.set_pos(kiocb.pos().saturating_add_unsigned(written as u64));
        Ok(written)
    }

    /// Looks for data and holes in the cache file. Errors: ENOBUFS no file; EINVAL, ENXIO.
    ///
    /// The position is the fd's own. That of the file below is moved by every question that the
    /// kernel has, and by the other fds of the object: nobody may rely on it.
    fn llseek(fd: &ObjectFd, offset: i64, whence: i32) -> Result<i64> {
        let file = fd.object.file().ok_or(ENOBUFS)?;
        let found = match Whence::from_raw(whence).ok_or(EINVAL)? {
            Whence::Cur => {
                let position = fd.position.load(Ordering::Relaxed);
                let target = position.checked_add(offset).ok_or(EINVAL)?;
                file.llseek(target, Whence::Set)?
            }
            whence => file.llseek(offset, whence)?,
        };
        fd.position.store(found, Ordering::Relaxed);
        Ok(found)
    }

    /// Completes a READ. Errors: EINVAL another command, not a READ of this object, or not the fd
    /// that the object's daemon has of it.
    #[inline]
    fn ioctl(fd: &ObjectFd, command: u32, argument: usize) -> Result<isize> {
        if command != READ_COMPLETE {
            return Err(EINVAL);
        }
        let id = u32::try_from(argument).map_err(|_| EINVAL)?;
        let engine = fd.object.engine().ok_or(EOPNOTSUPP)?;
        engine.cread(&fd.object, fd.id, id)?;
        Ok(0)
    }
}
