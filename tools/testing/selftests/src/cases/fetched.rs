// SPDX-License-Identifier: GPL-2.0
//! What the daemon writes into the cache: why a write is refused, and how far behind the end of an
//! object one may go.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{AlignedBuffer, Errno, ObjectFd, key_path};
use rustix::event::PollFlags;

use super::object_fd::{fd, image};
use super::original::filler::Filler;
use super::original::world::polls;
use crate::context::{Context, TAG, expect_errno};
use crate::image::BLOCK;
use crate::kmsg::KernelLog;
use crate::registry::{Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::share::Counters;
use crate::sys;
use crate::task::soon;

pub const TESTS: &[Test] = &[
    test!(
        causes_of_enobufs_can_be_told_apart_by_what_else_is_there,
        "FAULTS 14: the errno is one for three causes, which a daemon can still find out"
    ),
    test!(
        write_that_is_refused_is_explained_in_the_kernel_log,
        "FAULTS 14: who looks for the reason finds it"
    )
    .c_fails("nothing is logged"),
    test!(
        data_behind_the_size_of_an_object_is_served,
        "FAULTS 14: why there is no bound, for a daemon that gives too small a size is served so far"
    ),
    test!(
        data_behind_the_size_of_an_object_is_cut_off_at_its_next_look_up,
        "FAULTS 14: what a daemon writes too much does not stay"
    ),
];

const FSID: &str = "fetched";

fn mount(ctx: &Context, session: &mut Session) -> Result<Mount> {
    session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))
}

fn finish(mut session: Session, mount: Mount) -> Result<()> {
    session.check_files(&mount, &image())?;
    session.unmount(mount)?;
    session.settle()
}

fn blob_path() -> PathBuf {
    Path::new(sys::CACHE).join(key_path(format!("erofs,{FSID}").as_bytes(), b"blob"))
}

/// A session whose cache stores nothing more once half of the disk is taken.
fn limited(ctx: &Context) -> Result<Session> {
    let device = ctx.device()?;
    for limit in ["brun 60%", "bcull 55%", "bstop 50%"] {
        device.command(limit).context(limit)?;
    }
    device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))?;
    Ok(Session::new(device.into(), blobs_of(FSID, &image())))
}

/// Tries to write a page at `off`, which has to fail with ENOBUFS. Returns the signs of a cause:
/// whether misfits were counted, room was found wanting, and the fd has no file.
fn signs(session: &Session, fd: &ObjectFd, off: u64) -> Result<[bool; 3]> {
    let before = Counters::now()?;
    let page = AlignedBuffer::new(BLOCK);
    expect_errno(
        rustix::io::pwrite(fd, &page, off),
        Errno::NOBUFS,
        "the write",
    )?;
    let moved = Counters::now()?.since(&before);
    let culls = polls(&session.device)?.contains(PollFlags::OUT);
    let counted = moved.get("NoSpace.nwr")? > 0;
    ensure!(
        culls == counted,
        "no room was counted: {counted}, told by poll: {culls}"
    );
    let gone = fd.seek_hole(0) == Err(Errno::NOBUFS);
    Ok([moved.get("IO.mis")? > 0, culls, gone])
}

fn causes_of_enobufs_can_be_told_apart_by_what_else_is_there(ctx: &Context) -> Result<()> {
    let mut session = limited(ctx)?;
    let mounted = mount(ctx, &mut session)?;
    let id = session.object_of(b"blob")?.0;
    let seen = signs(&session, fd(&session)?, 512)?;
    ensure!(seen == [true, false, false], "not aligned: {seen:?}");

    let filler = Filler::new()?;
    filler.leave(40)?;
    let seen = signs(&session, fd(&session)?, 0)?;
    ensure!(seen == [false, true, false], "no room: {seen:?}");
    filler.leave(90)?;
    // The disk has the room when what was freed is known to it.
    rustix::fs::sync();
    session.fill(id, 0, BLOCK as u64).context("room again")?;

    let left_over = ObjectFd::from(rustix::io::fcntl_dupfd_cloexec(fd(&session)?, 0)?);
    session.check_files(&mounted, &image())?;
    session.unmount(mounted)?;
    session.pump_until("the CLOSE", |session| session.log.closes.contains(&id))?;
    // The file goes a moment after the CLOSE.
    sys::wait_for("the file to go", soon(), || {
        left_over.seek_hole(0) == Err(Errno::NOBUFS)
    })?;
    let seen = signs(&session, &left_over, 0)?;
    ensure!(seen == [false, false, true], "no file: {seen:?}");
    drop(left_over);
    session.settle()
}

fn write_that_is_refused_is_explained_in_the_kernel_log(ctx: &Context) -> Result<()> {
    let mut session = limited(ctx)?;
    let mounted = mount(ctx, &mut session)?;
    let mut log = KernelLog::from_now()?;
    signs(&session, fd(&session)?, 512)?;
    let misaligned = log.lines()?;
    let filler = Filler::new()?;
    filler.leave(40)?;
    signs(&session, fd(&session)?, 0)?;
    let no_room = log.lines()?;
    filler.leave(90)?;
    rustix::fs::sync();
    for (lines, word) in [(misaligned, "page size"), (no_room, "bstop")] {
        ensure!(
            lines
                .iter()
                .any(|line| line.contains(word) && line.contains("blob")),
            "nothing about {word} in {lines:?}"
        );
    }
    finish(session, mounted)
}

fn data_behind_the_size_of_an_object_is_served(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    for size in [1, 3 * BLOCK as u64] {
        session.sizes.insert(b"blob".to_vec(), size);
        let mounted = mount(ctx, &mut session)?;
        session.log = Default::default();
        session
            .check_files(&mounted, &image())
            .with_context(|| format!("a size of {size}"))?;
        let asked = session.log.reads.iter().map(|read| read.off + read.len);
        ensure!(
            asked.max() >= Some(8 * BLOCK as u64),
            "READs: {:?}",
            session.log.reads
        );
        session.unmount(mounted)?;
        session.settle()?;
    }
    Ok(())
}

fn data_behind_the_size_of_an_object_is_cut_off_at_its_next_look_up(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    let mounted = mount(ctx, &mut session)?;
    let page = AlignedBuffer::new(BLOCK);
    let (blocks, far) = (8 * BLOCK as u64, 1 << 30);
    fd(&session)?
        .write_at(&page, far)
        .context("a write far behind")?;
    session.check_files(&mounted, &image())?;
    session.unmount(mounted)?;
    session.settle()?;
    let size = fs::metadata(blob_path())?.len();
    ensure!(size == far + BLOCK as u64, "{size} bytes after the write");
    session.log = Default::default();
    let mounted = mount(ctx, &mut session)?;
    // The look-up of a device ends after the mount, and after the answer.
    let size = || fs::metadata(blob_path()).map_or(0, |file| file.len());
    sys::wait_for("the file to be cut off", soon(), || size() == blocks)?;
    let id = session.object_of(b"blob")?.0;
    session.check_files(&mounted, &image())?;
    ensure!(
        session.log.reads.iter().all(|read| read.object_id != id),
        "cut off was too much, READs: {:?}",
        session.log.reads
    );
    finish(session, mounted)
}
