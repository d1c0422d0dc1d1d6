// SPDX-License-Identifier: GPL-2.0
//! System calls with arguments that no safe interface would pass on.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use cachefiles_protocol::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// `read` into memory at an address that must not be mapped.
pub fn read_to_address(fd: impl AsFd, address: usize, length: usize) -> Result<usize, Errno> {
    assert!(
        address < 4096,
        "only the zero page is sure not to be mapped"
    );
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: no memory lies at this address, so the kernel can only answer EFAULT: nothing of
    // this process is written to.
    let result = unsafe { libc::read(fd, std::ptr::without_provenance_mut(address), length) };
    answer(result as i64)
}

/// `write` from memory at an address that must not be mapped.
pub fn write_from_address(fd: impl AsFd, address: usize, length: usize) -> Result<usize, Errno> {
    assert!(
        address < 4096,
        "only the zero page is sure not to be mapped"
    );
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the kernel only reads, and finds nothing at this address.
    let result = unsafe { libc::write(fd, std::ptr::without_provenance(address), length) };
    answer(result as i64)
}

/// `ioctl` with any operation. The argument is an address in the zero page, or a plain number: what
/// takes it for a pointer gets EFAULT.
pub fn any_ioctl(fd: impl AsFd, operation: u32, argument: u16) -> Result<usize, Errno> {
    let fd = fd.as_fd().as_raw_fd();
    let argument = libc::c_ulong::from(argument & 0xfff);
    // SAFETY: as a pointer the argument lies in the zero page, where no memory is to be changed.
    let result = unsafe { libc::ioctl(fd, libc::Ioctl::from(operation), argument) };
    answer(i64::from(result))
}

/// Has the file system look up where all of a file lies (`FS_IOC_FIEMAP`), and does not ask for the
/// answer.
pub fn look_for_extents(fd: impl AsFd) -> Result<(), Errno> {
    #[repr(C)]
    struct Map {
        start: u64,
        length: u64,
        flags: u32,
        mapped: u32,
        room: u32,
        reserved: u32,
    }
    let mut map = Map {
        start: 0,
        length: u64::MAX,
        flags: 0,
        mapped: 0,
        room: 0,
        reserved: 0,
    };
    let operation = libc::_IOWR::<Map>(u32::from(b'f'), 11);
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: this is the structure that the operation takes; there is no room for extents behind
    // it, so the kernel only counts them.
    let result = unsafe { libc::ioctl(fd, operation, &raw mut map) };
    answer(i64::from(result)).map(drop)
}

/// Lets nobody write to the file system that a file lies on (`FIFREEZE`): who does sleeps until
/// [`thaw`].
pub fn freeze(fd: impl AsFd) -> Result<(), Errno> {
    freeze_or_thaw(fd, 119)
}

/// The end of [`freeze`] (`FITHAW`).
pub fn thaw(fd: impl AsFd) -> Result<(), Errno> {
    freeze_or_thaw(fd, 120)
}

fn freeze_or_thaw(fd: impl AsFd, number: u32) -> Result<(), Errno> {
    let operation = libc::_IOWR::<libc::c_int>(u32::from(b'X'), number);
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: neither operation looks at its argument.
    let result = unsafe { libc::ioctl(fd, operation, 0) };
    answer(i64::from(result)).map(drop)
}

/// `mmap` of a page of a file, unmapped again at once if it succeeds.
pub fn map(fd: impl AsFd) -> Result<usize, Errno> {
    let (length, protection) = (4096, libc::PROT_READ | libc::PROT_WRITE);
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the kernel chooses the address, so no memory of this process is replaced; nothing
    // refers to the mapping when it is undone.
    let address = unsafe {
        let address = libc::mmap(
            std::ptr::null_mut(),
            length,
            protection,
            libc::MAP_SHARED,
            fd,
            0,
        );
        if address != libc::MAP_FAILED {
            libc::munmap(address, length);
        }
        address
    };
    answer(if address == libc::MAP_FAILED { -1 } else { 0 })
}

/// Reads a file from its start by a mapping, which takes the way of page faults.
pub fn copy_from_mapping(fd: impl AsFd, into: &mut [u8]) -> Result<(), Errno> {
    let mapping = Mapping::new(fd, into.len(), ProtFlags::READ, MapFlags::SHARED)?;
    // SAFETY: the mapping has this length and is not the destination; the test does not shorten the
    // file meanwhile, so no page of it is missing.
    unsafe { std::ptr::copy_nonoverlapping(mapping.address.cast(), into.as_mut_ptr(), into.len()) };
    Ok(())
}

/// Writes into a file, which must be large enough, by a mapping.
pub fn copy_to_mapping(fd: impl AsFd, offset: usize, from: &[u8]) -> Result<(), Errno> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let mapping = Mapping::new(fd, offset + from.len(), access, MapFlags::SHARED)?;
    // SAFETY: the mapping reaches to the end of the range and is not the source; the test does not
    // shorten the file meanwhile, so no page of it is missing.
    unsafe {
        let to = mapping.address.cast::<u8>().add(offset);
        std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
    }
    Ok(())
}

/// Lists a directory into memory that is a private mapping of a file: the directory stays locked
/// until the file's first page was read.
pub fn list_into_mapping(directory: impl AsFd, file: impl AsFd) -> Result<usize, Errno> {
    let length = 4096;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let mapping = Mapping::new(file, length, access, MapFlags::PRIVATE)?;
    let directory = directory.as_fd().as_raw_fd();
    // SAFETY: the kernel writes to the mapping, which has this length and to which nothing refers.
    let result = unsafe { libc::syscall(libc::SYS_getdents64, directory, mapping.address, length) };
    answer(result)
}

/// `read` into memory that is a private mapping of a file: the kernel has to read the file's first
/// page before it can copy anything there. Returns what was read.
pub fn read_into_mapping(fd: impl AsFd, file: impl AsFd) -> Result<Vec<u8>, Errno> {
    let length = 4096;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let mapping = Mapping::new(file, length, access, MapFlags::PRIVATE)?;
    // SAFETY: the kernel writes to the mapping, which has this length and to which nothing refers.
    let result = unsafe { libc::read(fd.as_fd().as_raw_fd(), mapping.address, length) };
    let length = answer(result as i64)?;
    let mut bytes = vec![0; length];
    // SAFETY: the mapping has at least as many bytes, was just written to, and is not `bytes`.
    unsafe { std::ptr::copy_nonoverlapping(mapping.address.cast(), bytes.as_mut_ptr(), length) };
    Ok(bytes)
}

/// `write` of a page of memory that is a private mapping of another file: whoever writes keeps the
/// destination locked until the source's first page was read.
pub fn write_from_mapping(to: impl AsFd, from: impl AsFd) -> Result<usize, Errno> {
    let length = 4096;
    let mapping = Mapping::new(from, length, ProtFlags::READ, MapFlags::PRIVATE)?;
    // SAFETY: the kernel reads from the mapping, which has this length.
    let result = unsafe { libc::write(to.as_fd().as_raw_fd(), mapping.address, length) };
    answer(result as i64)
}

/// `pwrite` of `data` and of a page behind it that cannot be read.
pub fn write_past_mapping(to: impl AsFd, data: &[u8], off: u64) -> Result<usize, Errno> {
    let mapping = in_memory(data, data.len() + 4096)?;
    // SAFETY: the last page of the mapping, to which nothing refers.
    let result = unsafe {
        let last = mapping.address.byte_add(data.len());
        libc::mprotect(last, 4096, libc::PROT_NONE)
    };
    answer(i64::from(result))?;
    mapping.write_to(to, off)
}

/// `pwrite` of `data` from memory that another thread has the kernel forget the pages of, time and
/// again: they are found again when they are needed, in the file that the memory is of.
pub fn write_from_fleeting(to: impl AsFd, data: &[u8], off: u64) -> Result<usize, Errno> {
    let mapping = in_memory(data, data.len())?;
    let (address, length) = (mapping.address.expose_provenance(), mapping.length);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let address = std::ptr::with_exposed_provenance_mut(address);
                // SAFETY: the mapping outlives the thread. Its pages are those of a file, so that
                // nothing is lost.
                unsafe { libc::madvise(address, length, libc::MADV_DONTNEED) };
            }
        });
        let written = mapping.write_to(to, off);
        is_over.store(true, Ordering::Relaxed);
        written
    })
}

/// Memory of a file of its own that begins with `data`.
fn in_memory(data: &[u8], length: usize) -> Result<Mapping, Errno> {
    let file = rustix::fs::memfd_create("data", rustix::fs::MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, length as u64)?;
    let mut written = 0;
    while written < data.len() {
        written += rustix::io::pwrite(&file, &data[written..], written as u64)?;
    }
    Mapping::new(file, length, ProtFlags::READ, MapFlags::SHARED)
}

/// A mapping of a file from its start, undone when dropped.
struct Mapping {
    address: *mut std::ffi::c_void,
    length: usize,
}

impl Mapping {
    fn new(
        fd: impl AsFd,
        length: usize,
        protection: ProtFlags,
        flags: MapFlags,
    ) -> Result<Self, Errno> {
        // SAFETY: the kernel chooses the address, so no memory of this process is replaced.
        let address = unsafe { mmap(std::ptr::null_mut(), length, protection, flags, fd, 0) }?;
        Ok(Self { address, length })
    }

    /// `pwrite` of all of it.
    fn write_to(&self, to: impl AsFd, off: u64) -> Result<usize, Errno> {
        let (fd, off) = (to.as_fd().as_raw_fd(), off as libc::off_t);
        // SAFETY: the kernel reads from the mapping, which has this length.
        let result = unsafe { libc::pwrite(fd, self.address, self.length, off) };
        answer(result as i64)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is this mapping, and nothing refers to it any more. An error would mean that
        // it does not exist, which harms nobody.
        let _ = unsafe { munmap(self.address, self.length) };
    }
}

/// Closes an fd by number, whoever believes to own it: for a process that is meant to lose its fds,
/// and opens nothing but what it is meant to lose.
pub fn close_number(fd: i32) -> Result<(), Errno> {
    // SAFETY: no memory depends on an fd here, and no file of this process is relied on.
    answer(i64::from(unsafe { libc::close(fd) })).map(drop)
}

/// Moves this process, which must have one thread, to a user namespace of its own.
pub fn new_user_namespace() -> Result<(), Errno> {
    // SAFETY: no memory is concerned; only the calling process changes.
    answer(i64::from(unsafe { libc::unshare(libc::CLONE_NEWUSER) })).map(drop)
}

/// Makes a detached mount show the ids of a user namespace.
pub fn map_ids_of_mount(mount: impl AsFd, user_namespace: impl AsFd) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(user_namespace.as_fd().as_raw_fd()).map_err(|_| Errno::BADF)?,
    };
    // SAFETY: path and attributes outlive the call, and the size is that of the attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    answer(result).map(drop)
}

/// A part of a file, and its place on the disk; in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Where it is in the file.
    pub offset: u64,
    /// Where it is on the disk.
    pub place: u64,
    /// Its length.
    pub len: u64,
}

/// Where a file lies on its disk. At most 64 parts: more are an error.
pub fn places(fd: impl AsFd) -> Result<Vec<Place>, Errno> {
    /// `FS_IOC_FIEMAP`: `_IOWR('f', 11, struct fiemap)`.
    const FIEMAP: u32 = 0xc020_660b;
    const MOST: usize = 64;
    const HEADER: usize = 4;
    const ENTRY: usize = 7;
    // `struct fiemap`: start, length, flags and the count of what was found, the count of what
    // there is room for. FIEMAP_FLAG_SYNC is 1. Then entries of seven words: offset, place, length,
    // ...
    let mut words = [0u64; HEADER + MOST * ENTRY];
    words[1] = u64::MAX;
    words[2] = 1;
    words[3] = MOST as u64;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the kernel writes the header and at most as many entries as the header says: all of
    // that lies in `words`.
    let result = unsafe { libc::ioctl(fd, libc::Ioctl::from(FIEMAP), words.as_mut_ptr()) };
    answer(i64::from(result))?;
    let found = (words[2] >> 32) as usize;
    if found >= MOST {
        return Err(Errno::NOBUFS);
    }
    let entries = words[HEADER..].chunks_exact(ENTRY).take(found);
    let places = entries.map(|entry| Place {
        offset: entry[0],
        place: entry[1],
        len: entry[2],
    });
    Ok(places.collect())
}

/// Takes over the fd that a message carried, where the message was not decoded.
pub fn adopt(fd: i32) -> OwnedFd {
    // SAFETY: the kernel installed the fd for this message, and nothing else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn answer(result: i64) -> Result<usize, Errno> {
    usize::try_from(result)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
