// SPDX-License-Identifier: GPL-2.0
//! Closing the device: what becomes of requests, readers and the cache.

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::kmsg::KernelLog;
use cachefiles_harness::session::Mount;
use cachefiles_harness::sys;
use cachefiles_harness::task::{read_in_background, soon};
use cachefiles_protocol::{Device, Errno};

use crate::observe::{cached, cached_io, logged, polls, said};
use crate::probe::{Probe, Rows, probe};
use crate::world::{FSID, MODES, bound, image, mounted};

pub const PROBES: &[Probe] = &[
    probe!("release", unbinding),
    probe!("release", requests),
    probe!("release", anonymous_fds_pin_the_cache),
    probe!("release", duplicates),
];

fn free_again() -> String {
    let free = sys::wait_for("the device to be free", soon(), || Device::open().is_ok());
    if free.is_ok() {
        "free again".into()
    } else {
        "stays in use".into()
    }
}

fn unbinding(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (mode, bind) in MODES {
        let mut log = KernelLog::from_now()?;
        let device = bound(ctx, bind)?;
        let caches = || -> Result<usize> {
            let table = std::fs::read_to_string("/proc/fs/fscache/caches")?;
            Ok(table.lines().skip(2).count())
        };
        rows.row(format!("{mode}.caches-while-bound"), "1", caches()?)?;
        drop(device);
        rows.row(format!("{mode}.device"), "free again", free_again())?;
        rows.row(format!("{mode}.caches"), "0", caches()?)?;
        rows.row(
            format!("{mode}.log"),
            "File cache on selftest registered; File cache on selftest unregistering",
            logged(&mut log)?,
        )?;
        rows.row(
            format!("{mode}.bind-again"),
            "ok",
            said(bound(ctx, bind).map_err(|_| Errno::IO)),
        )?;
    }
    Ok(())
}

fn requests(ctx: &Context, rows: &mut Rows) -> Result<()> {
    // A new OPEN that nobody has read.
    let session = ctx.session(FSID, &image())?;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.device.wait_readable(Some(soon()))?;
    drop(session);
    rows.row(
        "request.OPEN.new",
        "fails",
        cached::<Mount>(mount.finish()?),
    )?;
    rows.row("request.OPEN.new.device", "free again", free_again())?;
    // A delivered one.
    let mut session = ctx.session(FSID, &image())?;
    session.hold_opens = true;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    let open = session.held_opens.pop().context("no OPEN")?;
    drop(session);
    rows.row(
        "request.OPEN.delivered",
        "fails",
        cached::<Mount>(mount.finish()?),
    )?;
    rows.row(
        "request.OPEN.delivered.device",
        "EBUSY",
        said(Device::open()),
    )?;
    drop(open);
    rows.row("request.OPEN.delivered.then", "free again", free_again())?;
    // READs: new, and delivered.
    for delivered in [false, true] {
        let name = if delivered { "delivered" } else { "new" };
        let (mut session, mount) = mounted(ctx)?;
        session.hold_data(FSID, &image());
        let reader = read_in_background(&mount.file("file"));
        if delivered {
            session.pump_until("a READ", |session| !session.held.is_empty())?;
        } else {
            session.device.wait_readable(Some(soon()))?;
        }
        drop(session);
        rows.row(
            format!("request.READ.{name}"),
            "fails",
            cached_io(reader.finish()?),
        )?;
        let later = read_in_background(&mount.file("file"));
        rows.row(
            format!("request.READ.{name}.later-read"),
            "fails",
            cached_io(later.finish()?),
        )?;
        rows.row(
            format!("request.READ.{name}.unmount"),
            "ok",
            said(mount.unmount().finish()?.map_err(|_| Errno::IO)),
        )?;
        rows.row(
            format!("request.READ.{name}.device"),
            "free again",
            free_again(),
        )?;
        crate::world::forget_volumes()?;
    }
    Ok(())
}

fn anonymous_fds_pin_the_cache(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    let id = session.object_of(b"blob")?.0;
    let kept = session.objects.remove(&id).context("no object")?.fd;
    let mut log = KernelLog::from_now()?;
    drop(session);
    rows.row("pinned.device", "EBUSY", said(Device::open()))?;
    rows.row("pinned.rmmod", "EAGAIN", said(sys::remove_module()))?;
    rows.row("pinned.log", "nothing", logged(&mut log)?)?;
    let reader = read_in_background(&mount.file("file"));
    rows.row("pinned.read", "fails", cached_io(reader.finish()?))?;
    let page = cachefiles_protocol::AlignedBuffer::new(4096);
    rows.as_c("pinned.fd-write", said(kept.write_at(&page, 0)))?;
    rows.as_c("pinned.fd-seek", said(kept.seek_data(0)))?;
    rows.row("pinned.cread", "EINVAL", said(kept.complete_read(0)))?;
    mount.unmount().finish()??;
    drop(kept);
    rows.row("pinned.last-fd-closed", "free again", free_again())?;
    let unbound = sys::wait_for("the line in the log", soon(), || {
        logged(&mut log).is_ok_and(|lines| lines.contains("unregistering"))
    });
    rows.row("pinned.last-fd-closed.unbound", "true", unbound.is_ok())
}

fn duplicates(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    let holder = session.device.try_clone()?;
    session.device = std::sync::Arc::new(holder);
    rows.row("duplicate.EBUSY", "EBUSY", said(Device::open()))?;
    let data = session.read_file(&mount.file("file"));
    rows.row("duplicate.serves", "true", data.is_ok())?;
    rows.row("duplicate.poll", "nothing", polls(&*session.device)?)?;
    session.unmount(mount)?;
    session.settle()?;
    drop(session);
    rows.row("duplicate.then", "free again", free_again())?;
    Ok(())
}
