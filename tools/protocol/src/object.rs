// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The anonymous fd that stands for a cache file: filling it and completing reads.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::SeekFrom;
use rustix::io::{Errno, FdFlags};
use rustix::ioctl::{IntegerSetter, Opcode, ioctl, opcode};

/// Unit of offsets and lengths of what is written, in bytes: the fd writes with direct I/O, and the
/// kernel counts in its own pages.
pub fn page_size() -> u64 {
    // A page has no more bytes than 64 bits count.
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// `CACHEFILES_IOC_READ_COMPLETE`, `_IOW(0x98, 1, int)`.
pub const READ_COMPLETE: Opcode = opcode::write::<core::ffi::c_int>(0x98, 1);

/// The smallest page-aligned range around `off..off + len`, or `None` if it does not fit 64 bits.
pub fn align_range(off: u64, len: u64) -> Option<Range<u64>> {
    let page = page_size();
    let end = off.checked_add(len)?.checked_next_multiple_of(page)?;
    Some(off - off % page..end)
}

/// An object as the daemon has it. While one such fd is open the object stays open; when the last
/// is closed the kernel asks for the object again as soon as somebody reads it.
#[derive(Debug)]
pub struct ObjectFd {
    fd: OwnedFd,
}

impl From<OwnedFd> for ObjectFd {
    /// Takes over an fd that came another way, such as over a socket.
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl From<ObjectFd> for OwnedFd {
    fn from(object: ObjectFd) -> Self {
        object.fd
    }
}

impl AsFd for ObjectFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ObjectFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl ObjectFd {
    /// Owns the fd that an OPEN just read from the device carries, and makes it close-on-exec.
    pub(crate) fn adopt(fd: RawFd) -> Self {
        // SAFETY: the kernel installed this fd for the message that was just read, and the message
        // is decoded once, so nothing else in this process owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Fails only for an fd that is not open, which then shows in the first use of it.
        let _ = rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC);
        Self { fd }
    }

    /// Writes all of `data` at `off`.
    ///
    /// The kernel writes through to the cache file with direct I/O: `off`, the length and the
    /// memory must be aligned (see [`crate::AlignedBuffer`]), else `EINVAL`. `ENOBUFS` if the
    /// object's file is gone, `ENOSPC` if the cache is full.
    pub fn write_at(&self, mut data: &[u8], mut off: u64) -> Result<(), Errno> {
        while !data.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.fd, data, off))?;
            data = data
                .get(written..)
                .filter(|_| written > 0)
                .ok_or(Errno::IO)?;
            off = off
                .checked_add(u64::try_from(written).map_err(|_| Errno::OVERFLOW)?)
                .ok_or(Errno::OVERFLOW)?;
        }
        Ok(())
    }

    /// Completes a READ of this object: the reader looks for its data in the cache file now.
    ///
    /// `EINVAL` if the id names no READ of this object, as for one whose reader was killed.
    pub fn complete_read(&self, msg_id: u32) -> Result<(), Errno> {
        let id = usize::try_from(msg_id).map_err(|_| Errno::INVAL)?;
        // SAFETY: `READ_COMPLETE` takes a plain integer, and reads no memory of this process.
        unsafe { ioctl(&self.fd, IntegerSetter::<READ_COMPLETE>::new_usize(id)) }
    }

    /// Offset of the first data at or after `off`; `ENXIO` if there is none.
    pub fn seek_data(&self, off: u64) -> Result<u64, Errno> {
        rustix::fs::seek(&self.fd, SeekFrom::Data(off))
    }

    /// Offset of the first hole at or after `off` (the end of the file counts as one).
    pub fn seek_hole(&self, off: u64) -> Result<u64, Errno> {
        rustix::fs::seek(&self.fd, SeekFrom::Hole(off))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcode_is_that_of_the_header() {
        assert_eq!(READ_COMPLETE, 0x4004_9801);
    }

    #[test]
    fn ranges_grow_to_pages() {
        let page = page_size();
        assert!(page.is_power_of_two() && page >= 4096);
        assert_eq!(align_range(0, 0), Some(0..0));
        assert_eq!(align_range(0, 1), Some(0..page));
        assert_eq!(align_range(page - 1, 2), Some(0..2 * page));
        assert_eq!(align_range(page, page), Some(page..2 * page));
        assert_eq!(align_range(u64::MAX, 1), None);
        assert_eq!(align_range(u64::MAX - 1, 1), None);
    }
}
