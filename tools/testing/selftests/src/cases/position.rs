// SPDX-License-Identifier: GPL-2.0
//! The position of an object's fd: that of `lseek`, which is not that of `write`.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{AlignedBuffer, ObjectFd};
use rustix::fs::{SeekFrom, seek};

use super::object_fd::{fd, image};
use crate::context::Context;
use crate::image::BLOCK;
use crate::registry::{Test, test};
use crate::session::{Mount, Session};

pub const TESTS: &[Test] = &[
    test!(
        position_of_an_object_fd_is_moved_by_its_own_seeks_only,
        "FAULTS 14: what the kernel looks for in a file does not move its daemon's position"
    )
    .c_fails("the position is that of the cache file, which each look for a hole moves"),
    test!(
        fd_of_a_reopened_object_is_at_its_start,
        "FAULTS 14: a daemon does not begin where the one before it was"
    )
    .c_fails("the position is that of the cache file, which all fds of the object share"),
    test!(
        duplicates_of_an_object_fd_share_a_position,
        "as those of any file do"
    ),
    test!(
        seeking_does_not_move_where_write_goes_on,
        "a daemon may look for holes between its writes"
    ),
];

const FSID: &str = "position";

/// A mounted image, with block 2 of its data blob in the cache.
fn mounted(ctx: &Context) -> Result<(Session, Mount)> {
    let mut session = ctx.session(FSID, &image())?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let id = session.object_of(b"blob")?.0;
    session.fill(id, 2 * BLOCK as u64, BLOCK as u64)?;
    Ok((session, mount))
}

fn position(fd: &ObjectFd) -> Result<u64> {
    seek(fd, SeekFrom::Current(0)).context("lseek to where it is")
}

fn finish(mut session: Session, mount: Mount) -> Result<()> {
    session.check_files(&mount, &image())?;
    session.unmount(mount)?;
    session.settle()
}

/// The first byte of the file, for which the kernel looks where the holes are.
fn read_a_byte(session: &mut Session, mount: &Mount) -> Result<()> {
    let path = mount.file("file");
    let task = crate::task::Task::start("a reader", move || -> Result<u8> {
        use std::os::unix::fs::FileExt;
        let mut byte = [0];
        fs::File::open(path)?.read_exact_at(&mut byte, 0)?;
        Ok(byte[0])
    });
    session.pump_until("a read to return", |_| task.is_done())?;
    ensure!(
        task.finish()?? == image().files["file"][0],
        "another byte was read"
    );
    Ok(())
}

fn position_of_an_object_fd_is_moved_by_its_own_seeks_only(ctx: &Context) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    ensure!(seek(fd(&session)?, SeekFrom::Start(77))? == 77, "SEEK_SET");
    read_a_byte(&mut session, &mount)?;
    let seen = position(fd(&session)?)?;
    ensure!(seen == 77, "after a read by somebody else it is {seen}");
    let ahead = seek(fd(&session)?, SeekFrom::Current(3))?;
    ensure!(ahead == 80, "3 further is {ahead}");
    ensure!(
        seek(fd(&session)?, SeekFrom::Current(-81)).is_err() && position(fd(&session)?)? == 80,
        "a seek that fails has moved it"
    );
    finish(session, mount)
}

fn fd_of_a_reopened_object_is_at_its_start(ctx: &Context) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    ensure!(
        fd(&session)?.seek_data(0)? == 2 * BLOCK as u64,
        "SEEK_DATA does not find the block"
    );
    let id = session.object_of(b"blob")?.0;
    session.objects.remove(&id);
    // Somebody reads, and so the object is opened again; where its holes are is not looked up now.
    session.hold_reads = Some(Box::new(|key, _| key == b"blob"));
    let path = mount.file("file");
    let reader = crate::task::read_in_background(&path);
    session.pump_until("the object again", |session| {
        session.object_of(b"blob").is_ok()
    })?;
    let seen = position(fd(&session)?);
    session.hold_reads = None;
    session.answer_held_backwards()?;
    session.pump_until("the reader to finish", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image().files["file"], "wrong content");
    let seen = seen?;
    ensure!(seen == 0, "the new fd is at {seen}");
    finish(session, mount)
}

fn duplicates_of_an_object_fd_share_a_position(ctx: &Context) -> Result<()> {
    let (session, mount) = mounted(ctx)?;
    let second = ObjectFd::from(rustix::io::fcntl_dupfd_cloexec(fd(&session)?, 0)?);
    ensure!(second.seek_data(0)? == 2 * BLOCK as u64, "SEEK_DATA");
    let seen = position(fd(&session)?)?;
    ensure!(
        seen == 2 * BLOCK as u64,
        "the duplicate was moved, and the other is at {seen}"
    );
    drop(second);
    finish(session, mount)
}

fn seeking_does_not_move_where_write_goes_on(ctx: &Context) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    let data = session.blobs[&b"blob"[..]].clone();
    let mut buffer = AlignedBuffer::new(data.len());
    buffer[..data.len()].copy_from_slice(&data);
    for (number, chunk) in buffer.chunks(2 * BLOCK).enumerate() {
        // Anywhere, but not where it writes.
        fd(&session)?.seek_hole(0)?;
        seek(fd(&session)?, SeekFrom::Start((7 - number) as u64))?;
        let written = rustix::io::write(fd(&session)?, chunk).context("write")?;
        ensure!(written == chunk.len(), "only {written} bytes were written");
    }
    let id = session.object_of(b"blob")?.0;
    session.log = Default::default();
    session.check_files(&mount, &image())?;
    ensure!(
        session.log.reads.iter().all(|read| read.object_id != id),
        "not all was written where it belongs; READs: {:?}",
        session.log.reads
    );
    finish(session, mount)
}
