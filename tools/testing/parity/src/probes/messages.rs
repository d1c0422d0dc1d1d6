// SPDX-License-Identifier: GPL-2.0
//! Reading and polling in the on-demand mode: the messages, byte by byte, and what a failed read
//! costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::session::{MountTask, Session, blobs_of};
use cachefiles_harness::task::{read_in_background, soon};
use cachefiles_harness::{raw, sys};
use cachefiles_protocol::MAX_MESSAGE_SIZE;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::observe::{hex, polls, said, said_io, value};
use crate::probe::{Probe, Rows, probe};
use crate::world::{FSID, bound, image, mounted, unmount};

pub const PROBES: &[Probe] = &[
    probe!("read", nothing_to_read),
    probe!("message", bytes_of_messages),
    probe!("message", ids_of_messages),
    probe!("message", longest_keys),
    probe!("read", short_buffers),
    probe!("read", failing_reads),
    probe!("poll", polling_for_messages),
    probe!("poll", polling_while_culling),
];

fn nothing_to_read(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let device = bound(ctx, "bind ondemand")?;
    let mut buffer = [0; MAX_MESSAGE_SIZE];
    rows.row(
        "nothing",
        "0",
        value(rustix::io::read(&*device, &mut buffer)),
    )?;
    rows.row(
        "nothing.no-buffer",
        "0",
        value(rustix::io::read(&*device, &mut buffer[..0])),
    )?;
    rows.row(
        "nothing.EFAULT",
        "0",
        value(raw::read_to_address(&*device, 8, 100)),
    )?;
    rows.row("nothing.poll", "nothing", polls(&*device)?)
}

/// A message's bytes in a normal form: the fd is not part of it.
fn normal(bytes: &[u8]) -> Result<String> {
    let mut bytes = bytes.to_vec();
    let opcode = bytes.get(4).copied().context("no opcode")?;
    let keys = if opcode == 0 {
        let fd = bytes.get_mut(24..28).context("a short OPEN")?;
        let number = i32::from_ne_bytes(<[u8; 4]>::try_from(&*fd)?);
        fd.fill(0xfd);
        drop(raw::adopt(number));
        let keys = bytes.split_off(32);
        format!(" {:?}", String::from_utf8_lossy(&keys))
    } else {
        String::new()
    };
    Ok(format!("{}{keys}", hex(&bytes)))
}

/// The next message, undecoded.
fn next(session: &Session) -> Result<Vec<u8>> {
    let mut buffer = [0xee; 2 * MAX_MESSAGE_SIZE];
    session.device.wait_readable(Some(soon()))?;
    let length = rustix::io::read(&*session.device, &mut buffer)?;
    Ok(buffer[..length].to_vec())
}

fn bytes_of_messages(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let session = ctx.session(FSID, &image())?;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let open = next(&session)?;
    let expect = "00000000 00000000 33000000 01000000 0d000000 06000000 fdfdfdfd 00000000 \"erofs,parity\\0parity\"";
    rows.row("OPEN", expect, normal(&open)?)?;
    session.device.command("copen 0,-5")?;
    rows.row(
        "OPEN.refused",
        "fails",
        crate::observe::cached(mount.finish()?),
    )?;
    drop(session);
    sys::wait_for("the device to be free", soon(), || ctx.device().is_ok())?;

    let (mut session, mount) = mounted(ctx)?;
    let next_id = 1 + session
        .log
        .reads
        .iter()
        .map(|read| read.msg_id)
        .max()
        .unwrap_or(0)
        .max(
            session
                .log
                .opens
                .iter()
                .map(|open| open.0)
                .max()
                .unwrap_or(0),
        );
    session.hold_reads = Some(Box::new(|_, _| true));
    let reader = read_in_background(&mount.file("file"));
    // The directory may have to be read first; what is wanted is a READ of the blob.
    let (blob, _) = session.object_of(b"blob")?;
    let seen = loop {
        let bytes = next(&session)?;
        let read = u64::from_ne_bytes(bytes.get(16..24).context("short")?.try_into()?);
        let length = u64::from_ne_bytes(bytes.get(24..32).context("short")?.try_into()?);
        let object = u32::from_ne_bytes(bytes.get(12..16).context("short")?.try_into()?);
        let id = u32::from_ne_bytes(bytes.get(..4).context("short")?.try_into()?);
        session.fill(object, read, length)?;
        session.object(object)?.fd.complete_read(id)?;
        if object == blob {
            break bytes;
        }
    };
    let id = u32::from_ne_bytes(seen.get(..4).context("short")?.try_into()?);
    rows.row("READ.next-msg-id", "true", id >= next_id)?;
    let without_id = hex(seen.get(4..).context("short")?);
    rows.row(
        "READ",
        "02000000 20000000 02000000 00000000 00000000 00800000 00000000",
        without_id,
    )?;
    session.hold_reads = None;
    session.pump_until("the reader", |_| reader.is_done())?;
    rows.row("READ.then", "ok", said_io(reader.finish()?))?;
    let task = mount.unmount();
    let mut closes = Vec::new();
    for _ in 0..2 {
        let bytes = next(&session)?;
        closes.push(hex(bytes.get(4..).context("short")?));
    }
    closes.sort();
    rows.row(
        "CLOSE",
        "01000000 10000000 01000000, 01000000 10000000 02000000",
        closes.join(", "),
    )?;
    task.finish()??;
    session.objects.clear();
    session.settle()
}

fn ids_of_messages(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    session.check_files(&mount, &image())?;
    unmount(&mut session, mount)?;
    // What is in the cache now needs no READs.
    session.log = Default::default();
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
        session.crash();
        session.check_files(&mount, &image())?;
        unmount(&mut session, mount)?;
        let log = std::mem::take(&mut session.log);
        let opens: Vec<String> = log
            .opens
            .iter()
            .map(|(message, object, key)| {
                format!("OPEN m{message} o{object} {}", String::from_utf8_lossy(key))
            })
            .collect();
        kinds.push(format!(
            "{}; {} READs; CLOSE {:?}",
            opens.join(", "),
            log.reads.len(),
            log.closes
        ));
    }
    rows.as_c("ids.warm-mounts", kinds.join("; "))?;
    Ok(())
}

fn longest_keys(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for length in [100, 180, 230, 240] {
        let fsid = "f".repeat(length);
        let mut session = Session::new(ctx.bound_device()?, blobs_of(&fsid, &image()));
        session.hold_opens = true;
        let mount =
            session.mount_in_background(&ctx.mount_point("long"), format!("fsid={fsid}"))?;
        let end = Instant::now() + soon();
        session.pump_until("the OPEN", |session| {
            !session.held_opens.is_empty() || mount.is_done() || Instant::now() > end
        })?;
        let seen = match session.held_opens.pop() {
            Some(open) => {
                session
                    .device
                    .copen(open.msg_id, Err(cachefiles_protocol::Errno::NOENT))?;
                format!(
                    "OPEN, keys of {} and {} bytes",
                    open.volume_key.len(),
                    open.cookie_key.len()
                )
            }
            None => "no OPEN".into(),
        };
        let end = crate::observe::cached(mount.finish()?);
        rows.as_c(format!("key-of-{length}-bytes"), format!("{seen}, {end}"))?;
        session.settle()?;
    }
    Ok(())
}

/// A session with one OPEN waiting to be read.
fn queued_open(ctx: &Context) -> Result<(Session, MountTask)> {
    let session = ctx.session(FSID, &image())?;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.device.wait_readable(Some(soon()))?;
    Ok((session, mount))
}

/// How the mount ends when its messages are served from now on.
fn serve(mut session: Session, mount: MountTask) -> Result<String> {
    session.pump_until("mount to return", |_| mount.is_done())?;
    let seen = match mount.finish()? {
        Ok(mount) => {
            session.pump_until("the devices", |session| session.objects.len() >= 2)?;
            session.unmount(mount)?;
            "mounts".into()
        }
        Err(errno) => crate::observe::cached::<()>(Err(errno)),
    };
    session.settle()?;
    Ok(seen)
}

fn short_buffers(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (session, mount) = queued_open(ctx)?;
    // Header, payload, `erofs,parity` with its NUL, `parity`.
    for length in [0, 1, 15, 16, 32, 50] {
        let seen = said(rustix::io::read(&*session.device, &mut vec![0; length]));
        rows.row(format!("EMSGSIZE.{length}-of-51-bytes"), "EMSGSIZE", seen)?;
    }
    rows.row("EMSGSIZE.keeps-the-request", "IN", polls(&*session.device)?)?;
    let seen = said(raw::read_to_address(&*session.device, 8, 50));
    rows.row("EMSGSIZE.before-EFAULT", "EMSGSIZE", seen)?;
    rows.row("EMSGSIZE.then", "mounts", serve(session, mount)?)
}

fn failing_reads(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for errno in ["EFAULT", "EMFILE"] {
        let (session, mount) = queued_open(ctx)?;
        let fds = || -> Result<usize> { Ok(std::fs::read_dir("/proc/self/fd")?.count()) };
        let before = fds()?;
        let seen = if errno == "EFAULT" {
            said(raw::read_to_address(&*session.device, 8, MAX_MESSAGE_SIZE))
        } else {
            let limit = getrlimit(Resource::Nofile);
            let none = Rlimit {
                current: Some(0),
                maximum: limit.maximum,
            };
            setrlimit(Resource::Nofile, none)?;
            let seen = said(rustix::io::read(
                &*session.device,
                &mut [0; MAX_MESSAGE_SIZE],
            ));
            setrlimit(Resource::Nofile, limit)?;
            seen
        };
        rows.row(format!("{errno}.OPEN"), errno, seen)?;
        rows.row(
            format!("{errno}.OPEN.leaves-no-fd"),
            "true",
            fds()? == before,
        )?;
        rows.as_c(format!("{errno}.OPEN.then"), serve(session, mount)?)?;
        crate::world::forget_volumes()?;
    }
    let (mut session, mount) = mounted(ctx)?;
    let reader = read_in_background(&mount.file("file"));
    session.device.wait_readable(Some(soon()))?;
    let seen = said(raw::read_to_address(&*session.device, 8, MAX_MESSAGE_SIZE));
    rows.row("EFAULT.READ", "EFAULT", seen)?;
    session.pump_until("the reader", |_| reader.is_done())?;
    rows.as_c("EFAULT.READ.then", said_io(reader.finish()?))?;
    let task = mount.unmount();
    session.device.wait_readable(Some(soon()))?;
    let seen = said(raw::read_to_address(&*session.device, 8, MAX_MESSAGE_SIZE));
    rows.row("EFAULT.CLOSE", "EFAULT", seen)?;
    let end = Instant::now() + Duration::from_millis(500);
    session.log = Default::default();
    session.pump_until("the CLOSEs", |session| {
        session.log.closes.len() >= 2 || Instant::now() > end
    })?;
    rows.as_c(
        "EFAULT.CLOSE.then",
        format!("{} more CLOSE", session.log.closes.len()),
    )?;
    session.objects.clear();
    session.pump_until("unmount", |_| task.is_done())?;
    task.finish()??;
    session.settle()
}

fn polling_for_messages(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount) = queued_open(ctx)?;
    rows.row("OPEN.new", "IN", polls(&*session.device)?)?;
    session.hold_opens = true;
    session.step()?;
    rows.row("OPEN.delivered", "nothing", polls(&*session.device)?)?;
    session.hold_opens = false;
    let open = session.held_opens.pop().context("no OPEN")?;
    session.answer_open(open)?;
    session.pump_until("mount to return", |_| mount.is_done())?;
    let mount = mount.finish()?.context("mount")?;
    session.pump_until("the devices", |session| session.objects.len() >= 2)?;
    session.hold_data(FSID, &image());
    let reader = read_in_background(&mount.file("file"));
    let blob = session.object_of(b"blob")?.0;
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    rows.row("READ.delivered", "nothing", polls(&*session.device)?)?;
    session.answer_held_backwards()?;
    session.hold_reads = None;
    session.pump_until("the reader", |_| reader.is_done())?;
    reader.finish()??;
    unmount(&mut session, mount)?;

    // A READ of an object that is being reopened: only the OPEN can be handed out.
    crate::world::forget_volumes()?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session
        .objects
        .retain(|id, object| *id == blob || object.key != b"blob");
    session.hold_opens = true;
    let reader = read_in_background(&mount.file("file"));
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    rows.row(
        "READ.of-reopening-object",
        "nothing",
        polls(&*session.device)?,
    )?;
    session.hold_opens = false;
    let open = session.held_opens.pop().context("no OPEN")?;
    session.answer_open(open)?;
    rows.row("READ.of-reopened-object", "IN", polls(&*session.device)?)?;
    session.pump_until("the reader", |_| reader.is_done())?;
    reader.finish()??;
    let task = mount.unmount();
    session.device.wait_readable(Some(soon()))?;
    rows.row("CLOSE.new", "IN", polls(&*session.device)?)?;
    session.pump_until("unmount", |_| task.is_done())?;
    task.finish()??;
    session.settle()?;
    rows.row("idle", "nothing", polls(&*session.device)?)
}

fn polling_while_culling(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let limits = [
        "dir /cache",
        "brun 99%",
        "bcull 98%",
        "bstop 0%",
        "bind ondemand",
    ];
    let device = crate::world::device_with(ctx, &limits)?;
    rows.row("culling", "OUT", polls(&device)?)?;
    let session = Session::new(device.into(), blobs_of(FSID, &image()));
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    sys::wait_for("the OPEN", soon(), || {
        polls(&*session.device).is_ok_and(|bits| bits.contains("IN"))
    })?;
    rows.row("culling.OPEN.new", "IN|OUT", polls(&*session.device)?)?;
    rows.row("culling.then", "mounts", serve(session, mount)?)
}
