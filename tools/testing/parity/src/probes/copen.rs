// SPDX-License-Identifier: GPL-2.0
//! `copen`: the answer to an OPEN, and what becomes of the OPEN.

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::session::{Mount, MountTask, Session};
use cachefiles_harness::task::read_in_background;
use cachefiles_protocol::{Errno, Open};

use crate::observe::{cached, command, each, said_io};
use crate::probe::{Probe, Rows, probe};
use crate::world::{FSID, bound, image, mounted, unmount};

pub const PROBES: &[Probe] = &[
    probe!("copen", outside_the_mode),
    probe!("copen", ids),
    probe!("copen", sizes),
    probe!("copen", answers_to_other_requests),
    probe!("copen", after_the_fd_was_closed),
];

fn outside_the_mode(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let commands = [
        "copen 0,4096",
        "copen",
        "copen x",
        "copen 99999999999999999999,1",
    ];
    let device = ctx.device()?;
    let results = commands.map(|text| (text.to_owned(), command(&device, text)));
    rows.row("EOPNOTSUPP.not-bound", "EOPNOTSUPP", each(results))?;
    drop(device);
    let device = bound(ctx, "bind")?;
    let results = commands.map(|text| (text.to_owned(), command(&device, text)));
    rows.row("EOPNOTSUPP.original", "EOPNOTSUPP", each(results))?;
    drop(device);
    let device = bound(ctx, "bind ondemand")?;
    let commands = [
        "copen",
        "copen ",
        "copen 0",
        "copen ,",
        "copen ,4096",
        "copen 0,4096",
    ];
    let results = commands.map(|text| (text.to_owned(), command(&device, text)));
    rows.row("EINVAL.nothing-to-answer", "EINVAL", each(results))
}

/// A session that holds the OPEN of a mount under way.
fn held_open(ctx: &Context) -> Result<(Session, MountTask, Open)> {
    let mut session = ctx.session(FSID, &image())?;
    session.hold_opens = true;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    let open = session.held_opens.pop().context("no OPEN")?;
    session.hold_opens = false;
    Ok((session, mount, open))
}

/// Serves until the mount returns, and takes it down again: how it ended.
fn end(mut session: Session, mount: MountTask, held: impl Sized) -> Result<String> {
    session.pump_until("mount to return", |_| mount.is_done())?;
    let seen = match mount.finish()? {
        Ok(mount) => {
            session.pump_until("the devices", |session| session.objects.len() >= 2)?;
            session.unmount(mount)?;
            "mounts".into()
        }
        Err(errno) => cached::<Mount>(Err(errno)),
    };
    drop(held);
    session.settle()?;
    Ok(seen)
}

fn ids(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount, open) = held_open(ctx)?;
    let id = open.msg_id;
    for (what, expect, texts) in [
        (
            "EINVAL.no-id",
            "EINVAL",
            vec!["copen".into(), "copen ,4096".into()],
        ),
        (
            "EINVAL.no-size",
            "EINVAL",
            vec![format!("copen {id}"), format!("copen {id} 4096")],
        ),
        (
            "EINVAL.bad-id",
            "EINVAL",
            vec![
                format!("copen x{id},4096"),
                format!("copen {id}x,4096"),
                format!("copen {id} ,4096"),
                "copen -1,4096".into(),
            ],
        ),
        (
            "EINVAL.unknown-id",
            "EINVAL",
            vec![
                format!("copen {},4096", id + 1),
                "copen 4711,4096".into(),
                "copen 4294967295,4096".into(),
                format!("copen {},4096", u64::MAX),
                format!("copen {},4096", (1_u64 << 32) + u64::from(id)),
            ],
        ),
        (
            "ERANGE.id",
            "ERANGE",
            vec![
                "copen 99999999999999999999,1".to_owned(),
                "copen 18446744073709551616,1".into(),
            ],
        ),
    ] {
        let results: Vec<_> = texts
            .into_iter()
            .map(|text| (text.clone(), command(&session.device, &text)))
            .collect();
        rows.row(what, expect, each(results))?;
    }
    rows.row("refused.the-OPEN-waits-on", "false", mount.is_done())?;
    session.answer_open(open)?;
    rows.row("refused.then-accepted", "mounts", end(session, mount, ())?)?;
    // Forms of a number that are accepted.
    for (what, form) in [("hexadecimal", "0x"), ("octal", "0"), ("plus", "+")] {
        let (session, mount, open) = held_open(ctx)?;
        let text = format!("copen {form}{},-5", open.msg_id);
        let seen = command(&session.device, &text);
        if seen != "ok" {
            session.device.copen(open.msg_id, Err(Errno::IO))?;
        }
        rows.as_c(
            format!("id.{what}"),
            format!("{seen}, {}", end(session, mount, open)?),
        )?;
    }
    Ok(())
}

fn sizes(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (what, expect, size) in [
        ("no-number", "EINVAL, fails", "x"),
        ("empty", "EINVAL, fails", ""),
        ("rest", "EINVAL, fails", "12x"),
        ("two-numbers", "EINVAL, fails", "1,2"),
        ("blank", "EINVAL, fails", " 4096"),
        ("two-signs", "EINVAL, fails", "--1"),
        ("too-large", "ERANGE, fails", "9223372036854775808"),
        ("too-small", "ERANGE, fails", "-9223372036854775809"),
        ("errno.-1", "ok, fails", "-1"),
        ("errno.-2", "ok, fails", "-2"),
        ("errno.-4095", "ok, fails", "-4095"),
        ("errno.hexadecimal", "ok, fails", "-0x5"),
        ("below-errnos.-4096", "EINVAL, fails", "-4096"),
        (
            "below-errnos.lowest",
            "EINVAL, fails",
            "-9223372036854775808",
        ),
        ("zero", "ok, fails", "0"),
        ("one", "ok, mounts", "1"),
        ("plus", "ok, mounts", "+8192"),
        ("hexadecimal", "ok, mounts", "0x2000"),
        ("octal", "ok, mounts", "020000"),
        ("newline", "ok, mounts", "8192\n"),
    ] {
        let (mut session, mount, open) = held_open(ctx)?;
        let answer = command(&session.device, &format!("copen {},{size}", open.msg_id));
        let object = cachefiles_harness::session::Object {
            key: open.cookie_key,
            fd: open.fd,
        };
        let id = open.object_id;
        session.objects.insert(id, object);
        session.pump_until("mount to return", |_| mount.is_done())?;
        let seen = match mount.finish()? {
            Ok(mount) => {
                session.pump_until("the devices", |session| session.objects.len() >= 2)?;
                session.unmount(mount)?;
                "mounts".into()
            }
            Err(errno) => cached::<Mount>(Err(errno)),
        };
        session.objects.remove(&id);
        session.settle()?;
        let seen = format!("{answer}, {seen}");
        if what == "zero"
            || what == "one"
            || what == "plus"
            || what == "hexadecimal"
            || what == "octal"
            || what == "newline"
        {
            rows.as_c(format!("size.{what}"), seen)?;
        } else {
            rows.row(format!("size.{what}"), expect, seen)?;
        }
        drop(session);
        crate::world::forget_volumes()?;
    }
    Ok(())
}

fn answers_to_other_requests(ctx: &Context, rows: &mut Rows) -> Result<()> {
    // Before the daemon has read the OPEN.
    let session = ctx.session(FSID, &image())?;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session
        .device
        .wait_readable(Some(cachefiles_harness::task::soon()))?;
    let texts = [0, 1, 2].map(|id| format!("copen {id},4096"));
    let results = texts.map(|text| (text.clone(), command(&session.device, &text)));
    rows.row("EINVAL.OPEN-not-read-yet", "EINVAL", each(results))?;
    rows.row(
        "EINVAL.OPEN-not-read-yet.then",
        "mounts",
        end(session, mount, ())?,
    )?;

    let (mut session, mount, open) = held_open(ctx)?;
    let id = open.msg_id;
    session.answer_open(open)?;
    let texts = ["4096", "-5", "x"].map(|size| format!("copen {id},{size}"));
    let results = texts.map(|text| (text.clone(), command(&session.device, &text)));
    rows.row("EINVAL.second", "EINVAL", each(results))?;
    rows.row("EINVAL.second.then", "mounts", end(session, mount, ())?)?;

    crate::world::forget_volumes()?;
    let (mut session, mount) = mounted(ctx)?;
    session.hold_data(FSID, &image());
    let reader = read_in_background(&mount.file("file"));
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    let read = session.held[0];
    let texts = ["4096", "-5", "x"].map(|size| format!("copen {},{size}", read.msg_id));
    let results = texts.map(|text| (text.clone(), command(&session.device, &text)));
    rows.row("EINVAL.id-of-a-READ", "EINVAL", each(results))?;
    session.answer_held_backwards()?;
    session.hold_reads = None;
    session.pump_until("the reader", |_| reader.is_done())?;
    rows.row("EINVAL.id-of-a-READ.then", "ok", said_io(reader.finish()?))?;
    unmount(&mut session, mount)
}

fn after_the_fd_was_closed(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (session, mount, open) = held_open(ctx)?;
    let id = open.msg_id;
    drop(open);
    let answer = command(&session.device, &format!("copen {id},4096"));
    let seen = format!("{answer}, {}", end(session, mount, ())?);
    rows.row("EBADFD.fd-closed", "ok, fails", seen)?;
    let (mut session, mount, open) = held_open(ctx)?;
    session.answer_open(open)?;
    rows.row(
        "EBADFD.fd-closed.next-time",
        "mounts",
        end(session, mount, ())?,
    )
}
