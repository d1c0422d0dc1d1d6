// SPDX-License-Identifier: GPL-2.0
//! `restore`, and what closing an object's fd does without it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::session::{Mount, Session};
use cachefiles_harness::task::{ReadTask, read_in_background, soon};
use cachefiles_protocol::Device;

use crate::observe::{cached, command, each, polls, said_io};
use crate::probe::{Probe, Rows, probe};
use crate::world::{FSID, bound, image, mounted, unmount};

pub const PROBES: &[Probe] = &[
    probe!("restore", words_and_modes),
    probe!("restore", after_a_crash),
    probe!("restore", without_a_crash),
    probe!("restore", without_restore),
    probe!("restore", refused_reopening),
];

/// How long is waited for a message that should not come, or that comes with one module only.
const WHILE: Duration = Duration::from_millis(400);

fn words_and_modes(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let words = ["restore", "restore now", "restore 1,2"];
    let answers =
        |device: &Device| each(words.map(|text| (text.to_owned(), command(device, text))));
    let device = ctx.device()?;
    rows.row("EOPNOTSUPP.not-bound", "EOPNOTSUPP", answers(&device))?;
    drop(device);
    let device = bound(ctx, "bind")?;
    rows.row("EOPNOTSUPP.original", "EOPNOTSUPP", answers(&device))?;
    drop(device);
    let device = bound(ctx, "bind ondemand")?;
    rows.row("arguments-ignored", "ok", answers(&device))?;
    rows.row("nothing-in-flight.poll", "nothing", polls(&*device)?)
}

/// A mounted image, a reader of its file, and its READ, which is held.
fn one_read_in_flight(ctx: &Context) -> Result<(Session, Mount, ReadTask)> {
    let (mut session, mount) = mounted(ctx)?;
    session.hold_data(FSID, &image());
    let reader = read_in_background(&mount.file("file"));
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    session.log = Default::default();
    Ok((session, mount, reader))
}

/// Serves on until the reader has what it wanted, and takes all down: what the reader got.
fn finish(mut session: Session, mount: Mount, reader: ReadTask) -> Result<String> {
    session.answer_held_backwards()?;
    session.hold_reads = None;
    session.pump_until("the reader to finish", |_| reader.is_done())?;
    let seen = match reader.finish()? {
        Ok(data) if data == image().files["file"] => "right data".into(),
        Ok(_) => "wrong data".into(),
        error => said_io(error),
    };
    unmount(&mut session, mount)?;
    Ok(seen)
}

/// The messages that came, ids counted from that of the first object.
fn came(session: &Session) -> String {
    let log = &session.log;
    let mut words: Vec<String> = log
        .opens
        .iter()
        .map(|(_, _, key)| format!("OPEN {}", String::from_utf8_lossy(key)))
        .collect();
    words.extend(
        log.reads
            .iter()
            .map(|read| format!("READ {}+{}", read.off, read.len)),
    );
    words.extend(log.closes.iter().map(|_| "CLOSE".to_owned()));
    if words.is_empty() {
        "nothing".into()
    } else {
        words.join(", ")
    }
}

fn after_a_crash(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount, reader) = one_read_in_flight(ctx)?;
    session.crash();
    session.device.restore()?;
    session.device.wait_readable(Some(soon()))?;
    rows.row("crash.READ.poll", "IN", polls(&*session.device)?)?;
    session.device.restore()?;
    session.pump_until("the READ again", |session| !session.held.is_empty())?;
    session.pump_for(WHILE)?;
    rows.as_c("crash.READ", came(&session))?;
    rows.row(
        "crash.READ.then",
        "right data",
        finish(session, mount, reader)?,
    )?;

    crate::world::forget_volumes()?;
    let mut session = ctx.session(FSID, &image())?;
    session.hold_opens = true;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    let first = session.held_opens[0].msg_id;
    session.crash();
    session.device.restore()?;
    session.pump_until("the OPEN again", |session| !session.held_opens.is_empty())?;
    let same = session.held_opens[0].msg_id == first;
    rows.as_c("crash.OPEN.same-msg-id", same)?;
    rows.as_c(
        "crash.OPEN.object-ids",
        format!(
            "{:?}",
            session
                .log
                .opens
                .iter()
                .map(|open| open.1)
                .collect::<Vec<_>>()
        ),
    )?;
    session.hold_opens = false;
    let open = session.held_opens.remove(0);
    session.answer_open(open)?;
    session.pump_until("mount to return", |_| mount.is_done())?;
    let mount = mount.finish()?.context("mount")?;
    session.pump_until("the devices", |session| session.objects.len() >= 2)?;
    unmount(&mut session, mount)
}

fn without_a_crash(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount, reader) = one_read_in_flight(ctx)?;
    let before = session.held[0];
    session.device.restore()?;
    session.pump_for(WHILE)?;
    let same = session.held.iter().all(|read| *read == before);
    rows.as_c(
        "live.READ",
        format!("{}, same request {same}", came(&session)),
    )?;
    rows.row(
        "live.READ.then",
        "right data",
        finish(session, mount, reader)?,
    )?;

    crate::world::forget_volumes()?;
    let mut session = ctx.session(FSID, &image())?;
    session.hold_opens = true;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    session.log = Default::default();
    session.device.restore()?;
    let reading = match session.pump_for(WHILE) {
        Ok(()) => came(&session),
        Err(error) => format!("the read fails: {}", crate::observe::errno_in(&error)),
    };
    rows.as_c("live.OPEN", reading)?;
    session.hold_opens = false;
    let open = session.held_opens.remove(0);
    session.answer_open(open)?;
    session.pump_until("mount to return", |_| mount.is_done())?;
    let seen = match mount.finish()? {
        Ok(mount) => {
            session.pump_until("the devices", |session| session.objects.len() >= 2)?;
            session.unmount(mount)?;
            "mounts".into()
        }
        Err(errno) => cached::<Mount>(Err(errno)),
    };
    rows.as_c("live.OPEN.then", seen)?;
    session.objects.clear();
    session.settle()
}

/// All fds of the objects are gone, and nobody writes `restore`.
fn without_restore(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount, reader) = one_read_in_flight(ctx)?;
    session.crash();
    session.pump_for(WHILE)?;
    rows.as_c("none.delivered-READ", came(&session))?;
    session.device.restore()?;
    session.pump_until("the READ again", |session| !session.held.is_empty())?;
    rows.row(
        "none.delivered-READ.then-restore",
        "right data",
        finish(session, mount, reader)?,
    )?;

    crate::world::forget_volumes()?;
    let (mut session, mount) = mounted(ctx)?;
    session.crash();
    session.log = Default::default();
    let reader = read_in_background(&mount.file("file"));
    session.device.wait_readable(Some(soon()))?;
    session.pump_until("the reader", |_| reader.is_done())?;
    let opens = session.log.opens.len();
    rows.row(
        "none.new-READ",
        "2 OPEN, ok",
        format!("{opens} OPEN, {}", said_io(reader.finish()?)),
    )?;
    unmount(&mut session, mount)?;

    drop(session);
    crate::world::forget_volumes()?;
    let mut session = ctx.session(FSID, &image())?;
    session.hold_opens = true;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    session.log = Default::default();
    session.held_opens.clear();
    session.pump_for(WHILE)?;
    rows.as_c("none.OPEN-closed", came(&session))?;
    if session.held_opens.is_empty() {
        session.device.restore()?;
    }
    session.hold_opens = false;
    while let Some(open) = session.held_opens.pop() {
        session.answer_open(open)?;
    }
    session.pump_until("mount to return", |_| mount.is_done())?;
    let mount = mount.finish()?.context("mount")?;
    session.pump_until("the devices", |session| session.objects.len() >= 2)?;
    unmount(&mut session, mount)
}

/// The daemon refuses to open the object again: what becomes of its reader.
fn refused_reopening(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    session.crash();
    session.log = Default::default();
    let blobs = std::mem::take(&mut session.blobs);
    let reader = read_in_background(&mount.file("file"));
    let end = std::time::Instant::now() + Duration::from_secs(1);
    session.pump_until("some time to pass", |session| {
        reader.is_done() || session.log.opens.len() >= 10 || std::time::Instant::now() >= end
    })?;
    let opens = session.log.opens.len();
    let opens = if opens >= 10 {
        "10 OPENs and more".into()
    } else {
        format!("{opens} OPENs")
    };
    let state = if reader.is_done() {
        "the reader has its answer"
    } else {
        "the reader waits"
    };
    rows.as_c("refused-reopening", format!("{opens}, {state}"))?;
    session.blobs = blobs;
    session.pump_until("the reader", |_| reader.is_done())?;
    rows.as_c("refused-reopening.then-accepted", said_io(reader.finish()?))?;
    unmount(&mut session, mount)
}
