// SPDX-License-Identifier: GPL-2.0
//! Waits and signals: SIGKILL ends every wait for the daemon, and a daemon that is stopped holds
//! nobody up once it is dead. With C a mount that waits for an OPEN waits in fscache, where no
//! signal is looked at: it ends with the OPEN, and that with the daemon. All waits are listed in
//! `Documentation/locking.rst`.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::restore::two_blobs;
use crate::actor::{Actor, store_blobs};
use crate::context::Context;
use crate::image::{BLOCK, Builder, pattern};
use crate::registry::{Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::sys;
use crate::task::{read_in_background, soon};

pub const TESTS: &[Test] = &[
    test!(
        readers_that_share_a_read_can_be_killed_one_by_one,
        "SIGKILL ends the wait for a READ that others wait for, too"
    ),
    test!(
        readers_behind_a_reopening_can_be_killed,
        "SIGKILL ends the wait for an object that is opened again"
    ),
    test!(
        killed_mount_ends_when_its_stopped_daemon_is_killed,
        "a process that waits for an OPEN dies when its daemon is dead"
    )
    .limit(60),
    test!(
        killed_mount_ends_when_the_next_daemon_answers,
        "a process that waits for an OPEN dies when that is answered"
    )
    .limit(60),
    test!(
        unmount_while_a_close_is_not_read_waits_for_nobody,
        "a daemon that does not read holds up objects on their way out, and no process"
    )
    .limit(60),
    test!(
        stopped_daemon_that_is_killed_holds_up_no_unmount,
        "a frozen daemon is no worse than a dead one once it is dead"
    )
    .limit(60),
    test!(
        stopped_daemon_that_is_killed_is_replaced_under_a_holder,
        "a frozen daemon is no worse than a dead one once it is dead"
    )
    .limit(60),
    test!(
        stopped_daemon_goes_on_where_it_was,
        "a debugger or the freezer is no crash"
    ),
];

/// Two mounts of one domain, with a file on a blob that they share.
fn two_mounts(ctx: &Context) -> Result<(Session, [Mount; 2], Vec<u8>)> {
    let data = pattern(1, 2 * BLOCK);
    let image = Builder::new()
        .device("shared")
        .chunked("file", data.clone(), 2, &[Some(1)])
        .build();
    let mut session = ctx.session("one", &image)?;
    session.blobs.extend(blobs_of("two", &image));
    let mut mount = |fsid: &str| -> Result<Mount> {
        let options = format!("domain_id=domain,fsid={fsid}");
        let mount = session.mount(&ctx.mount_point(fsid), options)?;
        session.look_up(&mount.file("file"))?;
        Ok(mount)
    };
    let mounts = [mount("one")?, mount("two")?];
    session.hold_reads = Some(Box::new(|key, _| key == b"shared"));
    Ok((session, mounts, data))
}

/// Every answer comes too late, and then everything works.
fn all_answers_are_late(mut session: Session, mounts: [Mount; 2], data: &[u8]) -> Result<()> {
    let (held, late) = (session.held.len(), session.log.late);
    session.answer_held_backwards()?;
    let late = session.log.late - late;
    session.hold_reads = None;
    for mount in &mounts {
        let seen = session.read_file(&mount.file("file"))?;
        ensure!(seen == data, "wrong content");
    }
    for mount in mounts {
        session.unmount(mount)?;
    }
    session.settle()?;
    ensure!(
        held > 0 && late == held,
        "{late} of {held} answers were late"
    );
    Ok(())
}

fn readers_that_share_a_read_can_be_killed_one_by_one(ctx: &Context) -> Result<()> {
    let (mut session, mounts, data) = two_mounts(ctx)?;
    let mut readers = Vec::new();
    for mount in &mounts {
        let reader = Actor::reader(&mount.file("file"))?;
        session.pump_until("the reader to wait", |session| {
            !session.held.is_empty() && reader.waits_for(&mount.file("file"))
        })?;
        readers.push(reader);
    }
    for reader in readers {
        reader.kill()?;
    }
    all_answers_are_late(session, mounts, &data)
}

fn readers_behind_a_reopening_can_be_killed(ctx: &Context) -> Result<()> {
    let (mut session, mounts, data) = two_mounts(ctx)?;
    let (id, _) = session.object_of(b"shared")?;
    session.objects.remove(&id);
    session.hold_opens = true;
    let mut readers = Vec::new();
    for mount in &mounts {
        let reader = Actor::reader(&mount.file("file"))?;
        session.pump_until("the reader to wait", |session| {
            !session.held_opens.is_empty() && reader.waits_for(&mount.file("file"))
        })?;
        readers.push(reader);
    }
    for reader in readers {
        reader.kill()?;
    }
    session.hold_opens = false;
    session.hold_reads = None;
    let open = session.held_opens.remove(0);
    session.answer_open(open)?;
    session.log.reads.clear();
    for mount in &mounts {
        let seen = session.read_file(&mount.file("file"))?;
        ensure!(seen == data, "wrong content");
    }
    for mount in mounts {
        session.unmount(mount)?;
    }
    session.settle()
}

/// A directory of blobs for an actor to serve, under the names `kill` and `other`.
fn stored(ctx: &Context) -> Result<std::path::PathBuf> {
    let image = two_blobs();
    let dir = ctx.work.join("blobs");
    for fsid in ["kill", "other"] {
        store_blobs(&dir, &blobs_of(fsid, &image))?;
    }
    Ok(dir)
}

/// Mounts without a session: somebody else serves.
fn mounted(ctx: &Context, fsid: &str) -> Result<Mount> {
    let point = ctx.mount_point(fsid);
    fs::create_dir_all(&point)?;
    sys::mount_erofs(&point, format!("fsid={fsid}").as_bytes()).context("mount")?;
    sys::wait_for("all lookups to end", soon(), || {
        sys::lookups_done().unwrap_or(false)
    })?;
    Ok(Mount::at(point))
}

fn stopped_daemon_that_is_killed_holds_up_no_unmount(ctx: &Context) -> Result<()> {
    let blobs = stored(ctx)?;
    let daemon = Actor::lone_daemon(&blobs, &[])?;
    let (mount, other) = (mounted(ctx, "kill")?, mounted(ctx, "other")?);
    daemon.stop()?;
    let reader = read_in_background(&mount.file("a"));
    sys::wait_for("the reader to wait", soon(), || reader.sleeps())?;
    // Unmounting returns, or waits for the daemon: either way not for longer than the daemon lives.
    let unmount = other.unmount();
    sys::wait_for("unmount to return or to wait", soon(), || {
        unmount.is_done() || unmount.sleeps()
    })?;
    ensure!(!reader.is_done(), "the reader did not wait");
    daemon.kill()?;
    ensure!(reader.finish()?.is_err(), "a read without a daemon");
    unmount.finish()??;
    mount.unmount().finish()??;
    sys::wait_for("all cookies and volumes to go", soon(), sys::nothing_cached)
}

fn stopped_daemon_that_is_killed_is_replaced_under_a_holder(ctx: &Context) -> Result<()> {
    let (blobs, image) = (stored(ctx)?, two_blobs());
    let device = ctx.bound_device()?;
    let daemon = Actor::daemon(&device, &blobs, &[])?;
    let (mount, other) = (mounted(ctx, "kill")?, mounted(ctx, "other")?);
    daemon.stop()?;
    let reader = read_in_background(&mount.file("a"));
    sys::wait_for("the reader to wait", soon(), || reader.sleeps())?;
    let unmount = other.unmount();
    daemon.kill()?;
    let next = Actor::daemon(&device, &blobs, &["--restore"])?;
    ensure!(reader.finish()?? == image.files["a"], "wrong content");
    unmount.finish()??;
    mount.unmount().finish()??;
    sys::wait_for("all cookies and volumes to go", soon(), sys::nothing_cached)?;
    next.kill()
}

fn stopped_daemon_goes_on_where_it_was(ctx: &Context) -> Result<()> {
    let (blobs, image) = (stored(ctx)?, two_blobs());
    let daemon = Actor::lone_daemon(&blobs, &[])?;
    let mount = mounted(ctx, "kill")?;
    daemon.stop()?;
    let reader = read_in_background(&mount.file("a"));
    sys::wait_for("the reader to wait", soon(), || reader.sleeps())?;
    daemon.go_on()?;
    ensure!(reader.finish()?? == image.files["a"], "wrong content");
    mount.unmount().finish()??;
    sys::wait_for("all cookies and volumes to go", soon(), sys::nothing_cached)?;
    daemon.kill()
}

/// A process that mounts, and waits for its OPEN; SIGKILL is sent to it, which it is not to notice
/// yet.
fn killed_mounter(ctx: &Context) -> Result<Actor> {
    let point = ctx.mount_point("kill");
    fs::create_dir_all(&point)?;
    let mut mounter = Actor::mounter(&point, "fsid=kill")?;
    sys::wait_for("the mount to wait", soon(), || mounter.sleeps())?;
    ensure!(!mounter.ended()?, "the mount did not wait");
    mounter.signal_kill()?;
    Ok(mounter)
}

fn gone(mounter: &mut Actor) -> Result<()> {
    sys::wait_for("the killed mount to end", soon(), || {
        mounter.ended().unwrap_or(false)
    })?;
    sys::wait_for("all cookies and volumes to go", soon(), sys::nothing_cached)
}

fn killed_mount_ends_when_its_stopped_daemon_is_killed(ctx: &Context) -> Result<()> {
    let daemon = Actor::lone_daemon(&stored(ctx)?, &[])?;
    daemon.stop()?;
    let mut mounter = killed_mounter(ctx)?;
    daemon.kill()?;
    gone(&mut mounter)
}

fn killed_mount_ends_when_the_next_daemon_answers(ctx: &Context) -> Result<()> {
    let (blobs, image) = (stored(ctx)?, two_blobs());
    let device = ctx.bound_device()?;
    let daemon = Actor::daemon(&device, &blobs, &[])?;
    daemon.stop()?;
    let mut mounter = killed_mounter(ctx)?;
    daemon.kill()?;
    let next = Actor::daemon(&device, &blobs, &["--restore"])?;
    gone(&mut mounter)?;
    let mount = mounted(ctx, "other")?;
    ensure!(
        fs::read(mount.file("a"))? == image.files["a"],
        "wrong content"
    );
    mount.unmount().finish()??;
    sys::wait_for("all cookies and volumes to go", soon(), sys::nothing_cached)?;
    next.kill()
}

fn unmount_while_a_close_is_not_read_waits_for_nobody(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session("over", &image)?;
    let mount = session.mount(&ctx.mount_point("over"), "fsid=over")?;
    session.check_files(&mount, &image)?;
    // Nobody reads from here on: the objects stay until the daemon goes.
    mount.unmount().finish()??;
    ensure!(
        session.device.wait_readable(Some(soon()))?,
        "no CLOSE is sent"
    );
    ensure!(
        !sys::nothing_cached(),
        "the objects are gone before their CLOSE"
    );
    drop(session);
    sys::wait_for("all cookies and volumes to go", soon(), sys::nothing_cached)
}
