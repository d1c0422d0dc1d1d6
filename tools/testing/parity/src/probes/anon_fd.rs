// SPDX-License-Identifier: GPL-2.0
//! The anonymous fd of an object.

use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::image::BLOCK;
use cachefiles_harness::kmsg::KernelLog;
use cachefiles_harness::session::{Mount, Session};
use cachefiles_harness::task::{read_in_background, soon};
use cachefiles_harness::{raw, sys};
use cachefiles_protocol::{AlignedBuffer, Errno, ObjectFd};
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::FdFlags;

use crate::observe::{each, logged, polls, said, said_io, value};
use crate::probe::{Probe, Rows, probe};
use crate::world::{FSID, image, injecting, mounted, unmount};

pub const PROBES: &[Probe] = &[
    probe!("fd", kind_of_file),
    probe!("fd", operations_that_are_not_there),
    probe!("fd", writing),
    probe!("fd", seeking),
    probe!("fd", completing_reads),
    probe!("fd", without_room),
    probe!("fd", after_the_object),
];

fn fd(session: &Session) -> Result<&ObjectFd> {
    Ok(&session.object_of(b"blob")?.1.fd)
}

fn finish(mut session: Session, mount: Mount) -> Result<String> {
    let right = session.check_files(&mount, &image()).is_ok();
    unmount(&mut session, mount)?;
    Ok(if right {
        "right data".into()
    } else {
        "wrong data".into()
    })
}

fn kind_of_file(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let session = ctx.session(FSID, &image())?;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.device.wait_readable(Some(soon()))?;
    // Undecoded, for the codec sets a flag by itself.
    let mut bytes = [0; 1024];
    rustix::io::read(&*session.device, &mut bytes)?;
    let object = raw::adopt(i32::from_ne_bytes(bytes[24..28].try_into()?));
    let number = object.as_raw_fd();
    let link = std::fs::read_link(format!("/proc/self/fd/{number}"))?;
    rows.row("name", "anon_inode:[cachefiles]", link.display())?;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .context("no flags")?;
    let access = u32::from_str_radix(flags.trim(), 8)? & 3;
    rows.row(
        "access",
        "write-only",
        ["read-only", "write-only", "both", "none"][access as usize],
    )?;
    let closed = rustix::io::fcntl_getfd(&object)?.contains(FdFlags::CLOEXEC);
    rows.as_c("close-on-exec", closed)?;
    let flags = rustix::fs::fcntl_getfl(&object)?.difference(rustix::fs::OFlags::WRONLY);
    rows.as_c("other-flags", format!("{:o}", flags.bits() & !0o100_000))?;
    session.device.command("copen 0,-5")?;
    drop(object);
    let _ = mount.finish()?;
    let mut session = session;
    session.settle()
}

fn operations_that_are_not_there(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (session, mount) = mounted(ctx)?;
    let object = fd(&session)?;
    let mut buffer = [0; 4096];
    rows.row("read", "EBADF", said(rustix::io::read(object, &mut buffer)))?;
    rows.as_c("pread", said(rustix::io::pread(object, &mut buffer, 0)))?;
    rows.as_c("mmap", said(raw::map(object)))?;
    rows.as_c("poll", polls(object.as_fd())?)?;
    rows.as_c("fsync", said(rustix::fs::fsync(object)))?;
    rows.as_c("ftruncate", said(rustix::fs::ftruncate(object, 0)))?;
    let fallocated = rustix::fs::fallocate(object, FallocateFlags::empty(), 0, 4096);
    rows.as_c("fallocate", said(fallocated))?;
    // Neighbours of the known one: number, direction, size, type.
    for operation in [
        0x4004_9800,
        0x4004_9802,
        0x8004_9801,
        0x0000_9801,
        0x4008_9801,
        0x4004_9701,
        0x5401,
    ] {
        let seen = said(raw::any_ioctl(object, operation, 0));
        rows.row(format!("ioctl.{operation:#010x}"), "EINVAL", seen)?;
    }
    rows.row("afterwards", "right data", finish(session, mount)?)
}

fn writing(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (session, mount) = mounted(ctx)?;
    let object = fd(&session)?;
    let data = session.blobs[&b"blob"[..]].clone();
    let mut buffer = AlignedBuffer::new(data.len() + BLOCK);
    buffer[..data.len()].copy_from_slice(&data);
    let mut log = KernelLog::from_now()?;
    for off in [1, 512, 2048, 4095] {
        let seen = said(rustix::io::pwrite(object, &buffer[..BLOCK], off));
        rows.as_c(format!("pwrite.at-{off}"), seen)?;
    }
    rows.as_c("pwrite.not-aligned.log", logged(&mut log)?)?;
    for length in [0, 1, 511, 512, 1024, 4095, 4097] {
        let seen = value(rustix::io::pwrite(object, &buffer[..length], 0));
        rows.as_c(format!("pwrite.{length}-bytes"), seen)?;
    }
    rows.row(
        "pwrite.memory-not-aligned",
        "EINVAL",
        said(rustix::io::pwrite(object, &buffer[1..=BLOCK], 0)),
    )?;
    rows.row(
        "pwrite.EFAULT",
        "EFAULT",
        said(raw::write_from_address(object, 0, 4096)),
    )?;
    rows.row(
        "pwrite.page",
        "4096",
        value(rustix::io::pwrite(object, &buffer[..BLOCK], 0)),
    )?;
    rows.row(
        "pwrite.all",
        "32768",
        value(rustix::io::pwrite(object, &buffer[..data.len()], 0)),
    )?;
    let behind = rustix::io::pwrite(object, &buffer[data.len()..], 16 * BLOCK as u64);
    rows.as_c("pwrite.behind-the-end", value(behind))?;
    rows.as_c(
        "pwrite.far-away",
        said(rustix::io::pwrite(object, &buffer[..BLOCK], 1 << 62)),
    )?;
    rows.as_c(
        "pwrite.negative",
        said(rustix::io::pwrite(object, &buffer[..BLOCK], u64::MAX)),
    )?;
    rows.row(
        "position.at-first",
        "0",
        value(rustix::fs::seek(object, SeekFrom::Current(0))),
    )?;
    for number in 0..2 {
        let chunk = &buffer[number * 2 * BLOCK..][..2 * BLOCK];
        rows.row(
            format!("write.{number}"),
            "8192",
            value(rustix::io::write(object, chunk)),
        )?;
    }
    rows.as_c(
        "position.after-writes",
        value(rustix::fs::seek(object, SeekFrom::Current(0))),
    )?;
    let parts = [
        std::io::IoSlice::new(&buffer[..BLOCK]),
        std::io::IoSlice::new(&buffer[BLOCK..2 * BLOCK]),
    ];
    rows.row(
        "pwritev",
        "8192",
        value(rustix::io::pwritev(object, &parts, 0)),
    )?;
    rows.row("afterwards", "right data", finish(session, mount)?)
}

fn seeking(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    let id = session.object_of(b"blob")?.0;
    let block = BLOCK as u64;
    let seek = |session: &Session, from| -> Result<String> {
        Ok(value(rustix::fs::seek(fd(session)?, from)))
    };
    rows.row(
        "lseek.data.empty",
        "ENXIO",
        seek(&session, SeekFrom::Data(0))?,
    )?;
    rows.row("lseek.hole.empty", "0", seek(&session, SeekFrom::Hole(0))?)?;
    session.fill(id, 2 * block, block)?;
    for (what, expect, from) in [
        ("data.0", "8192", SeekFrom::Data(0)),
        ("data.inside", "8193", SeekFrom::Data(8193)),
        ("hole.0", "0", SeekFrom::Hole(0)),
        ("hole.inside", "12288", SeekFrom::Hole(8192)),
        ("data.behind-the-data", "ENXIO", SeekFrom::Data(12288)),
        ("data.behind-the-end", "ENXIO", SeekFrom::Data(9 * block)),
        ("hole.behind-the-end", "ENXIO", SeekFrom::Hole(9 * block)),
        ("end", "32768", SeekFrom::End(0)),
        ("set", "4096", SeekFrom::Start(block)),
        ("set.behind-the-end", "1048576", SeekFrom::Start(1 << 20)),
        ("end.negative", "EINVAL", SeekFrom::End(-1_000_000)),
    ] {
        rows.row(format!("lseek.{what}"), expect, seek(&session, from)?)?;
    }
    rows.as_c("lseek.set.then-current", {
        seek(&session, SeekFrom::Start(block))?;
        seek(&session, SeekFrom::Current(0))?
    })?;
    let second = rustix::io::fcntl_dupfd_cloexec(fd(&session)?, 0)?;
    rows.as_c(
        "lseek.current.duplicate",
        value(rustix::fs::seek(&second, SeekFrom::Current(0))),
    )?;
    drop(second);
    seek(&session, SeekFrom::Start(block))?;
    session.check_files(&mount, &image())?;
    rows.as_c(
        "lseek.current.after-a-look-by-the-kernel",
        seek(&session, SeekFrom::Current(0))?,
    )?;
    rows.row("lseek.afterwards", "right data", finish(session, mount)?)
}

fn completing_reads(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    session.hold_data(FSID, &image());
    let reader = read_in_background(&mount.file("file"));
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    let read = session.held[0];
    let other = &session.object_of(FSID.as_bytes())?.1.fd;
    let own = fd(&session)?;
    rows.row(
        "cread.EINVAL.other-object",
        "EINVAL",
        said(other.complete_read(read.msg_id)),
    )?;
    let unknown =
        [read.msg_id + 1, 4711, u32::MAX].map(|id| (id.to_string(), said(own.complete_read(id))));
    rows.row("cread.EINVAL.unknown-id", "EINVAL", each(unknown))?;
    let open = session.log.opens[0].0;
    rows.row(
        "cread.EINVAL.id-of-an-answered-OPEN",
        "EINVAL",
        said(own.complete_read(open)),
    )?;
    rows.row("cread.EINVAL.the-READ-waits-on", "false", reader.is_done())?;
    session.fill(read.object_id, read.off, read.len)?;
    rows.row(
        "cread",
        "ok",
        said(
            session
                .object(read.object_id)?
                .fd
                .complete_read(read.msg_id),
        ),
    )?;
    rows.row(
        "cread.EINVAL.second",
        "EINVAL",
        said(
            session
                .object(read.object_id)?
                .fd
                .complete_read(read.msg_id),
        ),
    )?;
    session.held.clear();
    session.hold_reads = None;
    session.pump_until("the reader", |_| reader.is_done())?;
    rows.row("cread.then", "ok", said_io(reader.finish()?))?;
    unmount(&mut session, mount)?;

    // Completed without the data.
    crate::world::forget_volumes()?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.hold_data(FSID, &image());
    session.log = Default::default();
    let reader = read_in_background(&mount.file("file"));
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    let read = session.held.remove(0);
    session
        .object(read.object_id)?
        .fd
        .complete_read(read.msg_id)?;
    session.pump_until("the READ again", |session| !session.held.is_empty())?;
    let again = session.held[0];
    let same = (again.off, again.len) == (read.off, read.len);
    rows.as_c(
        "cread.without-data",
        format!(
            "READ again, same range {same}, same id {}",
            again.msg_id == read.msg_id
        ),
    )?;
    session.answer_held_backwards()?;
    session.hold_reads = None;
    session.pump_until("the reader", |_| reader.is_done())?;
    rows.row("cread.without-data.then", "ok", said_io(reader.finish()?))?;
    unmount(&mut session, mount)
}

fn without_room(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    let page = AlignedBuffer::new(BLOCK);
    let object = fd(&session)?;
    let seen = injecting("1", || said(object.write_at(&page, 0)))?;
    rows.row("ENOSPC.injected", "ENOSPC", seen)?;
    let seen = injecting("2", || said(object.write_at(&page, 0)))?;
    rows.row("EIO.injected", "EIO", seen)?;
    let seen = injecting("2", || said(object.seek_data(0)))?;
    rows.as_c("lseek.EIO.injected", seen)?;
    rows.row(
        "injected.cache-lives-on",
        "ok",
        said(session.device.command("debug 0")),
    )?;
    rows.row(
        "injected.then-write",
        "ok",
        said(object.write_at(&page, 4 * BLOCK as u64)),
    )?;
    let whole = session.object_of(b"blob")?.0;
    session.fill(whole, 0, 8 * BLOCK as u64)?;
    rows.row("injected.afterwards", "right data", finish(session, mount)?)?;

    // Below the stop limit: the disk is filled behind the cache's back.
    crate::world::forget_volumes()?;
    let limits = [
        "dir /cache",
        "tag selftest",
        "brun 60%",
        "bcull 55%",
        "bstop 50%",
        "bind ondemand",
    ];
    let device = crate::world::device_with(ctx, &limits)?;
    let blobs = cachefiles_harness::session::blobs_of(FSID, &image());
    let mut session = Session::new(device.into(), blobs);
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let filler = std::fs::File::create("/cache/filler")?;
    let size = rustix::fs::statvfs(sys::CACHE)?;
    let most = size.f_bavail * size.f_frsize - size.f_blocks * size.f_frsize * 4 / 10;
    rustix::fs::fallocate(&filler, FallocateFlags::empty(), 0, most)?;
    let mut log = KernelLog::from_now()?;
    let seen = said(fd(&session)?.write_at(&page, 0));
    rows.row("ENOBUFS.below-the-stop-limit", "ENOBUFS", seen)?;
    rows.as_c("ENOBUFS.below-the-stop-limit.log", logged(&mut log)?)?;
    rows.row(
        "ENOBUFS.below-the-stop-limit.poll",
        "OUT",
        polls(&*session.device)?,
    )?;
    rustix::fs::ftruncate(&filler, 0)?;
    rustix::fs::syncfs(&filler)?;
    let seen = said(fd(&session)?.write_at(&page, 0));
    rows.row("ENOBUFS.room-again", "ok", seen)?;
    let whole = session.object_of(b"blob")?.0;
    session.fill(whole, 0, 8 * BLOCK as u64)?;
    rows.row("ENOBUFS.afterwards", "right data", finish(session, mount)?)?;
    std::fs::remove_file("/cache/filler")?;
    Ok(())
}

fn after_the_object(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    let id = session.object_of(b"blob")?.0;
    let left_over = rustix::io::fcntl_dupfd_cloexec(&session.object(id)?.fd, 0)?;
    session.unmount(mount)?;
    session.pump_until("the CLOSE", |session| session.log.closes.contains(&id))?;
    let left_over = ObjectFd::from(left_over);
    let page = AlignedBuffer::new(BLOCK);
    // The file goes a moment after the CLOSE.
    sys::wait_for("the file to go", soon(), || {
        left_over.write_at(&page, 0) == Err(Errno::NOBUFS)
    })?;
    rows.row(
        "left-over.write",
        "ENOBUFS",
        said(left_over.write_at(&page, 0)),
    )?;
    rows.row("left-over.lseek", "ENOBUFS", said(left_over.seek_data(0)))?;
    rows.row(
        "left-over.cread",
        "EINVAL",
        said(left_over.complete_read(0)),
    )?;
    rows.row(
        "left-over.ioctl",
        "EINVAL",
        said(raw::any_ioctl(&left_over, 0x5401, 0)),
    )?;
    drop(left_over);
    session.settle()
}
