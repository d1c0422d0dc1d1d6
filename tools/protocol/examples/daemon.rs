// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A complete on-demand daemon: serves the files of a directory as images and their devices.
//!
//!     mkfs.erofs /srv/blobs/app /path/to/rootfs
//!     daemon /var/cache/erofs /srv/blobs &
//!     mount -t erofs -o fsid=app none /mnt
//!
//! One thread, no retries: a blob that cannot be read is an error for its reader at once. When the
//! daemon dies, its readers get errors too; a process that keeps a duplicate of the device's fd
//! (`Device::try_clone`, `send_fds`) and gives it to the next daemon is all that it takes for them
//! to wait instead.

use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cachefiles_protocol::{
    AlignedBuffer, Device, Errno, MAX_MESSAGE_SIZE, Message, ObjectFd, Open, Read, ReceiveError,
    align_range, page_size,
};

/// What the kernel may ask for, by the id that it gave the object.
type Objects = HashMap<u32, (ObjectFd, File)>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [cache, blobs] = arguments.as_slice() else {
        return Err("usage: daemon CACHE-DIRECTORY BLOBS-DIRECTORY".into());
    };
    let device = Device::open()?;
    device.bind_ondemand(cache, Some("example"))?;
    println!("serving {}", blobs.display());
    let mut objects = Objects::new();
    let mut message = [0; MAX_MESSAGE_SIZE];
    loop {
        match device.read_message(&mut message) {
            Ok(Some(Message::Open(open))) => answer_open(&device, &mut objects, blobs, open)?,
            Ok(Some(Message::Read(read))) => answer_read(&device, &objects, read)?,
            // Dropping the fd is the answer.
            Ok(Some(Message::Close(close))) => drop(objects.remove(&close.object_id)),
            Ok(None) => drop(device.wait_readable(None)?),
            // EIO says that the cache is dead; what else there is passes.
            Err(ReceiveError::Read(Errno::IO)) => return Err("the kernel gave the cache up".into()),
            Err(error) => eprintln!("{error}"),
        }
    }
}

/// Says how long the blob is, in whole pages, or why there is none.
fn answer_open(
    device: &Device,
    objects: &mut Objects,
    blobs: &Path,
    open: Open,
) -> Result<(), Errno> {
    let size = find(blobs, &open.cookie_key).map(|(file, size)| {
        objects.insert(open.object_id, (open.fd, file));
        size.next_multiple_of(page_size())
    });
    let size = size.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    match device.copen(open.msg_id, size) {
        // Whoever mounted it was killed meanwhile.
        Err(Errno::INVAL) => drop(objects.remove(&open.object_id)),
        result => result?,
    }
    Ok(())
}

/// The key comes out of an image: it names a file of the directory, and no path.
fn find(blobs: &Path, key: &[u8]) -> io::Result<(File, u64)> {
    if key.contains(&b'/') {
        return Err(Errno::INVAL.into());
    }
    let file = File::open(blobs.join(OsStr::from_bytes(key)))?;
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata.len())),
        false => Err(Errno::INVAL.into()),
    }
}

/// Writes the data to the object's fd and completes the READ; never completes it without.
fn answer_read(device: &Device, objects: &Objects, read: Read) -> Result<(), Errno> {
    let done = match objects.get(&read.object_id) {
        Some((fd, file)) => fill(fd, file, &read),
        None => Err(Errno::BADF.into()),
    };
    let answered = done.or_else(|error| {
        eprintln!("{read:?}: {error}");
        device.cfail(read.msg_id, Errno::IO)
    });
    match answered {
        // Its reader was killed.
        Err(Errno::INVAL) => Ok(()),
        result => result,
    }
}

fn fill(fd: &ObjectFd, file: &File, read: &Read) -> io::Result<()> {
    let range = align_range(read.off, read.len).ok_or(Errno::OVERFLOW)?;
    let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    // Zeroed: what is behind the end of the file, in its last page, reads as zeros.
    let mut buffer = AlignedBuffer::new(length);
    let size = file.metadata()?.len();
    let there = size
        .saturating_sub(range.start)
        .min(range.end - range.start);
    if range.end > size.next_multiple_of(page_size()) {
        return Err(Errno::NODATA.into());
    }
    let there = usize::try_from(there).map_err(io::Error::other)?;
    file.read_exact_at(&mut buffer[..there], range.start)?;
    fd.write_at(&buffer[..length], range.start)?;
    Ok(fd.complete_read(read.msg_id)?)
}
