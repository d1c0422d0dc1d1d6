// SPDX-License-Identifier: GPL-2.0
//! Files of a mounted image are read: from the daemon, from the cache, and while an object is
//! opened again.

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;

use super::{EVERYWHERE, FSID, OPTIONS, Step, daemon, fresh_daemon, outcome, prove, step};
use crate::daemon::{Daemon, Mounted};
use crate::inject::Fault;
use crate::walk::{Below, Walk};

pub const STEPS: &[Step] = &[
    step!(read_cold, EVERYWHERE),
    step!(read_warm, EVERYWHERE),
    step!(read_warm_of_a_new_mount, EVERYWHERE),
    step!(read_while_the_object_is_reopened, EVERYWHERE),
];

fn mounted(ctx: &Context, daemon: &mut Daemon) -> Result<Mounted> {
    daemon
        .mount(&ctx.mount_point(FSID), OPTIONS, None)?
        .context("mounting")
}

/// Reads under failure, then again without, then everything.
fn read(daemon: &mut Daemon, mounted: &Mounted, fault: &Fault) -> Result<String> {
    let result = fault.around(|| daemon.read(mounted, "far", Some(fault)))??;
    let said = outcome(&result);
    daemon
        .read(mounted, "far", None)?
        .context("reading once nothing fails any more")?;
    daemon.check(mounted)?;
    Ok(said)
}

fn read_cold(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let mut daemon = fresh_daemon(walk.ctx)?;
        let mounted = mounted(walk.ctx, &mut daemon)?;
        let said = read(&mut daemon, &mounted, fault)?;
        daemon.unmount(mounted, None)?;
        Ok(said)
    })
}

/// What lies in the page cache is not read.
fn forget_pages() -> Result<()> {
    std::fs::write("/proc/sys/vm/drop_caches", "1").context("drop_caches")
}

fn read_warm(walk: &mut Walk<'_>) -> Result<()> {
    let mut daemon = fresh_daemon(walk.ctx)?;
    let mounted = mounted(walk.ctx, &mut daemon)?;
    daemon.check(&mounted)?;
    walk.each(Below::Module, |_, fault| {
        forget_pages()?;
        read(&mut daemon, &mounted, fault)
    })?;
    daemon.unmount(mounted, None)
}

/// Where the module does not know yet what the file holds.
fn read_warm_of_a_new_mount(walk: &mut Walk<'_>) -> Result<()> {
    prove(walk.ctx, fresh_daemon(walk.ctx)?)?;
    let mut daemon = daemon(walk.ctx)?;
    walk.each(Below::Module, |walk, fault| {
        let mounted = mounted(walk.ctx, &mut daemon)?;
        forget_pages()?;
        let said = read(&mut daemon, &mounted, fault)?;
        daemon.unmount(mounted, None)?;
        Ok(said)
    })
}

/// The daemon lost all its fds, as in a crash.
fn read_while_the_object_is_reopened(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let mut daemon = fresh_daemon(walk.ctx)?;
        let mounted = mounted(walk.ctx, &mut daemon)?;
        let file = mounted.file("far");
        daemon.calmly("a look-up", move || std::fs::metadata(file).map(drop))??;
        daemon.session.crash();
        let said = read(&mut daemon, &mounted, fault)?;
        daemon.unmount(mounted, None)?;
        Ok(said)
    })
}
