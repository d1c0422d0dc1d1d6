// SPDX-License-Identifier: GPL-2.0
//! The anonymous fd of an object: writing, seeking, and all that it does not do.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{AlignedBuffer, Device, Errno, ObjectFd, recv_fds, send_fds};
use rustix::fs::SeekFrom;
use rustix::io::FdFlags;

use crate::context::{Context, expect_errno};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::raw;
use crate::registry::{CacheFs, Test, test};
use crate::session::{Mount, Session};
use crate::sys;
use crate::task::{Task, read_in_background};

pub const TESTS: &[Test] = &[
    test!(object_fd_cannot_be_read, "the fd is for writing"),
    test!(
        unknown_ioctls_are_refused_with_einval,
        "only what is known is done"
    ),
    test!(
        unaligned_writes_are_refused,
        "what the disk cannot take is not half taken"
    )
    .not_on(&[(
        CacheFs::Btrfs,
        "btrfs takes what is not aligned, by way of the page cache",
    )]),
    test!(
        write_goes_to_the_file_position,
        "write and lseek work together"
    ),
    test!(
        seek_data_and_hole_follow_the_cache_file,
        "a daemon can ask what is there"
    ),
    test!(
        object_fd_is_close_on_exec,
        "FAULTS 5: a child that execs does not keep a dead daemon's objects open"
    )
    .c_fails("the fd is inherited over exec"),
    test!(
        duplicate_of_an_object_fd_keeps_the_object_open,
        "only the last close counts"
    ),
    test!(
        object_fd_travels_over_a_socket,
        "fds may be handed to another process"
    ),
    test!(
        object_fd_outlives_the_object,
        "CVE-2024-56549: an fd that is left over does no harm"
    ),
    test!(
        writes_while_the_object_goes_away_end,
        "CVE-2024-56549: a write meets the end of the object's file"
    )
    .limit(60),
    test!(
        object_fd_pins_the_cache,
        "the device is free again once the last fd is gone"
    ),
    test!(
        mmap_of_an_object_fd_is_refused,
        "there is no other way to the data"
    ),
];

const FSID: &str = "fds";

/// An image with one file, on a data blob of eight blocks.
pub(super) fn image() -> Image {
    Builder::new()
        .device("blob")
        .chunked("file", pattern(1, 8 * BLOCK), 8, &[Some(1)])
        .build()
}

/// A mounted image, with nothing of its data blob in the cache yet.
fn mounted(ctx: &Context) -> Result<(Session, Mount)> {
    let mut session = ctx.session(FSID, &image())?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    Ok((session, mount))
}

/// The fd of that blob.
pub(super) fn fd(session: &Session) -> Result<&ObjectFd> {
    Ok(&session.object_of(b"blob")?.1.fd)
}

fn finish(mut session: Session, mount: Mount) -> Result<()> {
    session.check_files(&mount, &image())?;
    session.unmount(mount)?;
    session.settle()
}

fn object_fd_cannot_be_read(ctx: &Context) -> Result<()> {
    let (session, mount) = mounted(ctx)?;
    let mut buffer = [0; 4096];
    expect_errno(
        rustix::io::read(fd(&session)?, &mut buffer),
        Errno::BADF,
        "read",
    )?;
    expect_errno(
        rustix::io::pread(fd(&session)?, &mut buffer, 0),
        Errno::SPIPE,
        "pread",
    )?;
    finish(session, mount)
}

fn unknown_ioctls_are_refused_with_einval(ctx: &Context) -> Result<()> {
    let (session, mount) = mounted(ctx)?;
    // Neighbours of the known one: number, direction, size, type.
    for operation in [
        0x4004_9800,
        0x4004_9802,
        0x8004_9801,
        0x0000_9801,
        0x4008_9801,
        0x4004_9701,
    ] {
        let result = raw::any_ioctl(fd(&session)?, operation, 0);
        expect_errno(result, Errno::INVAL, &format!("ioctl {operation:#x}"))?;
    }
    finish(session, mount)
}

fn unaligned_writes_are_refused(ctx: &Context) -> Result<()> {
    let (session, mount) = mounted(ctx)?;
    let buffer = AlignedBuffer::new(2 * BLOCK);
    for off in [1, 512, 4095] {
        let result = rustix::io::pwrite(fd(&session)?, &buffer[..BLOCK], off);
        expect_errno(result, Errno::NOBUFS, &format!("a page at {off}"))?;
    }
    for length in [1, 100, 511] {
        let result = rustix::io::pwrite(fd(&session)?, &buffer[..length], 0);
        expect_errno(result, Errno::INVAL, &format!("{length} bytes"))?;
    }
    let result = rustix::io::pwrite(fd(&session)?, &buffer[1..][..BLOCK], 0);
    expect_errno(result, Errno::INVAL, "memory that is not aligned")?;
    finish(session, mount)
}

fn write_goes_to_the_file_position(ctx: &Context) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    let data = session.blobs[&b"blob"[..]].clone();
    let mut buffer = AlignedBuffer::new(data.len());
    buffer[..data.len()].copy_from_slice(&data);
    for chunk in buffer.chunks(2 * BLOCK) {
        let written = rustix::io::write(fd(&session)?, chunk).context("write")?;
        ensure!(written == chunk.len(), "only {written} bytes were written");
    }
    session.log = Default::default();
    session.check_files(&mount, &image())?;
    ensure!(
        session.log.reads.len() <= 1,
        "READs: {:?}",
        session.log.reads
    );
    finish(session, mount)
}

fn seek_data_and_hole_follow_the_cache_file(ctx: &Context) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    let id = session.object_of(b"blob")?.0;
    expect_errno(
        fd(&session)?.seek_data(0),
        Errno::NXIO,
        "SEEK_DATA in an empty file",
    )?;
    ensure!(fd(&session)?.seek_hole(0)? == 0, "an empty file is a hole");
    let block = BLOCK as u64;
    session.fill(id, 2 * block, block)?;
    ensure!(
        fd(&session)?.seek_data(0)? == 2 * block,
        "the data begins at 2"
    );
    ensure!(
        fd(&session)?.seek_hole(2 * block)? == 3 * block,
        "the hole begins at 3"
    );
    ensure!(
        fd(&session)?.seek_hole(0)? == 0,
        "the file begins with a hole"
    );
    expect_errno(
        fd(&session)?.seek_data(3 * block),
        Errno::NXIO,
        "SEEK_DATA behind the data",
    )?;
    ensure!(
        rustix::fs::seek(fd(&session)?, SeekFrom::End(0))? == 8 * block,
        "the size"
    );
    expect_errno(
        fd(&session)?.seek_data(9 * block),
        Errno::NXIO,
        "SEEK_DATA behind the end",
    )?;
    finish(session, mount)
}

fn object_fd_is_close_on_exec(ctx: &Context) -> Result<()> {
    let session = ctx.session(FSID, &image())?;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    ensure!(
        session.device.wait_readable(Some(crate::task::soon()))?,
        "no OPEN"
    );
    // Undecoded, for the codec sets the flag by itself.
    let mut bytes = [0; 1024];
    let length = rustix::io::read(&*session.device, &mut bytes)?;
    ensure!(length > 28, "a message of {length} bytes");
    let object = raw::adopt(i32::from_ne_bytes(bytes[24..28].try_into()?));
    let flags = rustix::io::fcntl_getfd(&object)?;
    drop((object, session));
    let _ = mount.finish()?;
    ensure!(
        flags.contains(FdFlags::CLOEXEC),
        "the fd is inherited over exec"
    );
    Ok(())
}

fn duplicate_of_an_object_fd_keeps_the_object_open(ctx: &Context) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    let id = session.object_of(b"blob")?.0;
    let object = session.objects.remove(&id).context("no object")?;
    let duplicate = rustix::io::fcntl_dupfd_cloexec(&object.fd, 0)?;
    drop(object.fd);
    session.log = Default::default();
    let object = crate::session::Object {
        key: object.key,
        fd: duplicate.into(),
    };
    session.objects.insert(id, object);
    session.check_files(&mount, &image())?;
    ensure!(
        session.log.opens.is_empty(),
        "the object was opened again: {:?}",
        session.log.opens
    );
    finish(session, mount)
}

fn object_fd_travels_over_a_socket(ctx: &Context) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    let id = session.object_of(b"blob")?.0;
    let object = session.objects.remove(&id).context("no object")?;
    let (near, far) = UnixStream::pair()?;
    send_fds(&near, b"x", &[object.fd.as_fd()])?;
    // For a while the socket is all that holds it.
    drop(object.fd);
    session.log = Default::default();
    session.pump_for(Duration::from_millis(200))?;
    let (_, mut fds) = recv_fds(&far, &mut [0; 8])?;
    let fd = fds.pop().context("no fd arrived")?;
    session.objects.insert(
        id,
        crate::session::Object {
            key: object.key,
            fd: fd.into(),
        },
    );
    session.check_files(&mount, &image())?;
    ensure!(
        session.log.opens.is_empty(),
        "the object was opened again: {:?}",
        session.log.opens
    );
    finish(session, mount)
}

fn object_fd_outlives_the_object(ctx: &Context) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    let id = session.object_of(b"blob")?.0;
    let left_over = rustix::io::fcntl_dupfd_cloexec(&session.object(id)?.fd, 0)?;
    session.unmount(mount)?;
    session.pump_until("the CLOSE", |session| session.log.closes.contains(&id))?;
    let left_over = ObjectFd::from(left_over);
    let page = AlignedBuffer::new(BLOCK);
    // The file goes a moment after the CLOSE.
    sys::wait_for("the file to go", crate::task::soon(), || {
        left_over.write_at(&page, 0) == Err(Errno::NOBUFS)
    })?;
    expect_errno(left_over.seek_data(0), Errno::NOBUFS, "lseek")?;
    expect_errno(left_over.complete_read(0), Errno::INVAL, "cread")?;
    drop(left_over);
    session.settle()?;
    // And with the object, the device, and all else gone before the fd.
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let left_over = rustix::io::fcntl_dupfd_cloexec(fd(&session)?, 0)?;
    drop(session);
    mount.unmount().finish()??;
    expect_errno(
        ObjectFd::from(left_over).complete_read(0),
        Errno::INVAL,
        "cread",
    )
}

fn writes_while_the_object_goes_away_end(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    for _ in 0..10 {
        let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
        let writers: Vec<_> = (0..2)
            .map(|number| -> Result<_> {
                let fd = rustix::io::fcntl_dupfd_cloexec(fd(&session)?, 0)?;
                Ok(Task::start(format!("writer {number}"), move || {
                    let (fd, page) = (ObjectFd::from(fd), AlignedBuffer::new(BLOCK));
                    // Behind what anybody reads.
                    let mut count = 0;
                    loop {
                        match fd.write_at(&page, 8 * BLOCK as u64) {
                            Ok(()) => count += 1,
                            Err(errno) => return (count, errno),
                        }
                    }
                }))
            })
            .collect::<Result<_>>()?;
        session.unmount(mount)?;
        for writer in writers {
            session.pump_until("a writer to end", |_| writer.is_done())?;
            let (count, errno) = writer.finish()?;
            ensure!(
                errno == Errno::NOBUFS,
                "after {count} writes came {errno:?}"
            );
        }
        session.settle()?;
    }
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    finish(session, mount)
}

fn object_fd_pins_the_cache(ctx: &Context) -> Result<()> {
    let (session, mount) = mounted(ctx)?;
    let kept = rustix::io::fcntl_dupfd_cloexec(fd(&session)?, 0)?;
    ensure!(kept.as_raw_fd() >= 0);
    drop(session);
    expect_errno(
        Device::open(),
        Errno::BUSY,
        "open while an object's fd is left",
    )?;
    expect_errno(sys::remove_module(), Errno::AGAIN, "removing the module")?;
    // The cache is dead, though, and readers are told so.
    let reader = read_in_background(&mount.file("file"));
    ensure!(
        reader.finish()?.is_err(),
        "a read from a dead cache succeeded"
    );
    mount.unmount().finish()??;
    drop(kept);
    sys::wait_for("the device to be free", crate::task::soon(), || {
        Device::open().is_ok()
    })
}

fn mmap_of_an_object_fd_is_refused(ctx: &Context) -> Result<()> {
    let (session, mount) = mounted(ctx)?;
    expect_errno(raw::map(fd(&session)?), Errno::ACCESS, "mmap")?;
    finish(session, mount)
}
