// SPDX-License-Identifier: GPL-2.0
//! System calls with arguments that no safe interface would pass on.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use cachefiles_protocol::Errno;

use crate::memory::{Memory, Spot};

/// `read` to a spot that need not be there.
pub fn read(fd: impl AsFd, memory: &Memory, spot: Spot, length: usize) -> Result<usize, Errno> {
    let address = std::ptr::with_exposed_provenance_mut(memory.address(spot));
    // SAFETY: behind the spot lies room that is `memory`'s own, up to memory that cannot be written
    // to, where the kernel stops. Nothing refers to that room.
    answer(unsafe { libc::read(fd.as_fd().as_raw_fd(), address, length) } as i64)
}

/// `readv` to several spots.
pub fn readv(fd: impl AsFd, memory: &Memory, parts: &[(Spot, usize)]) -> Result<usize, Errno> {
    let parts = vectors(memory, parts);
    let count = parts.len() as libc::c_int;
    // SAFETY: as for `read`, for each of them.
    answer(unsafe { libc::readv(fd.as_fd().as_raw_fd(), parts.as_ptr(), count) } as i64)
}

/// `write` from a spot that need not be there.
pub fn write(fd: impl AsFd, memory: &Memory, spot: Spot, length: usize) -> Result<usize, Errno> {
    let address = std::ptr::with_exposed_provenance(memory.address(spot));
    // SAFETY: the kernel only reads, and finds out what can be read.
    answer(unsafe { libc::write(fd.as_fd().as_raw_fd(), address, length) } as i64)
}

/// `writev` from several spots.
pub fn writev(fd: impl AsFd, memory: &Memory, parts: &[(Spot, usize)]) -> Result<usize, Errno> {
    let parts = vectors(memory, parts);
    let count = parts.len() as libc::c_int;
    // SAFETY: the kernel only reads, and finds out what can be read.
    answer(unsafe { libc::writev(fd.as_fd().as_raw_fd(), parts.as_ptr(), count) } as i64)
}

/// `pwritev2` of one range, from a spot that need not be there, with any flags.
pub fn pwrite(
    fd: impl AsFd,
    memory: &Memory,
    spot: Spot,
    length: usize,
    off: i64,
    flags: i32,
) -> Result<usize, Errno> {
    let parts = vectors(memory, &[(spot, length)]);
    // SAFETY: the kernel only reads, and finds out what can be read.
    answer(unsafe { libc::pwritev2(fd.as_fd().as_raw_fd(), parts.as_ptr(), 1, off, flags) } as i64)
}

fn vectors(memory: &Memory, parts: &[(Spot, usize)]) -> Vec<libc::iovec> {
    let part = |&(spot, iov_len): &(Spot, usize)| libc::iovec {
        iov_base: std::ptr::with_exposed_provenance_mut(memory.address(spot)),
        iov_len,
    };
    parts.iter().map(part).collect()
}

/// A system call on an fd whose further arguments are numbers; what the kernel takes for an address
/// lies in the zero page.
pub fn call(number: Call, fd: impl AsFd, arguments: [i64; 3]) -> Result<usize, Errno> {
    let fd = fd.as_fd().as_raw_fd();
    let [a, b, c] = arguments;
    // SAFETY: none of these calls takes an address, but `fcntl` and `ioctl` as their last argument,
    // which is bounded to where no memory lies.
    answer(unsafe {
        match number {
            Call::Truncate => libc::syscall(libc::SYS_ftruncate, fd, a),
            Call::Allocate => libc::syscall(libc::SYS_fallocate, fd, a as i32, b, c),
            Call::Sync => libc::syscall(libc::SYS_fsync, fd),
            Call::SyncRange => libc::syscall(libc::SYS_sync_file_range, fd, a, b, c as u32),
            Call::Seek => libc::syscall(libc::SYS_lseek, fd, a, b as i32),
            Call::Lock => libc::syscall(libc::SYS_flock, fd, (a as i32) | libc::LOCK_NB),
            Call::Advise => libc::syscall(libc::SYS_fadvise64, fd, a, b, c as i32),
            Call::Readahead => libc::syscall(libc::SYS_readahead, fd, a, b),
            Call::Control => libc::syscall(libc::SYS_fcntl, fd, a as i32, b & 0xfff),
            Call::Ioctl => libc::syscall(libc::SYS_ioctl, fd, a as u32, b & 0xfff),
        }
    })
}

/// The calls of [`call`].
#[derive(Debug, Clone, Copy)]
pub enum Call {
    /// `ftruncate`
    Truncate,
    /// `fallocate`
    Allocate,
    /// `fsync`
    Sync,
    /// `sync_file_range`
    SyncRange,
    /// `lseek`
    Seek,
    /// `flock`, without waiting
    Lock,
    /// `posix_fadvise`
    Advise,
    /// `readahead`
    Readahead,
    /// `fcntl`
    Control,
    /// `ioctl`
    Ioctl,
}

/// Makes the number of an open fd stand for another file, which closes what it stood for, whoever
/// uses it at the moment. The number stays in use.
pub fn replace(fd: impl AsFd, by: impl AsFd) -> Result<(), Errno> {
    let (fd, by) = (fd.as_fd().as_raw_fd(), by.as_fd().as_raw_fd());
    // SAFETY: no memory depends on what an fd stands for.
    answer(i64::from(unsafe { libc::dup3(by, fd, libc::O_CLOEXEC) })).map(drop)
}

/// Takes over an fd that was passed on by its number: to this program, or in a message.
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the number was given to whoever calls, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Forks. The child keeps all fds for a while, then takes a message if it has a device to take it
/// from, and dies. Returns its process id.
pub fn fork_holder(device: RawFd, milliseconds: u16) -> Result<i32, Errno> {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: i64::from(milliseconds % 1000) * 1_000_000,
    };
    let mut buffer = [0u8; 1024];
    // SAFETY: the child calls nothing but system calls, on memory that was its own before: as a
    // signal handler may. So it does not matter what other threads were in the middle of.
    unsafe {
        match libc::fork() {
            0 => {
                libc::nanosleep(&raw const time, std::ptr::null_mut());
                libc::read(device, buffer.as_mut_ptr().cast(), buffer.len());
                libc::_exit(0)
            }
            child => answer(i64::from(child)).map(|_| child),
        }
    }
}

fn answer(result: i64) -> Result<usize, Errno> {
    usize::try_from(result)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
