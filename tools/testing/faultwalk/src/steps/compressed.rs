// SPDX-License-Identifier: GPL-2.0
//! A compressed image: EROFS asks for its blocks in another way, with bios of its own, and takes no
//! answer but all of them or an error told once.

use anyhow::{Context as _, Result};
use cachefiles_harness::context::{Context, TAG};
use cachefiles_harness::image::{BLOCK, Builder, Image};
use cachefiles_harness::lz4::{SPAN, compressible};
use cachefiles_harness::sys;
use cachefiles_harness::task::Task;

use super::{EVERYWHERE, FSID, OPTIONS, Step, outcome, step};
use crate::daemon::{Daemon, Mounted};
use crate::inject::Fault;
use crate::walk::{Below, Walk};

pub const STEPS: &[Step] = &[
    step!(mount_of_a_compressed_image, EVERYWHERE),
    step!(compressed_read_cold, EVERYWHERE),
    step!(compressed_read_warm, EVERYWHERE),
    step!(compressed_read_partly_cached, EVERYWHERE),
    step!(compressed_read_that_is_refused, EVERYWHERE),
];

/// The file that is read.
const FILE: &str = "packed";

/// Its compressed blocks, one after the other.
const BLOCKS: usize = 6;

fn image() -> Image {
    Builder::new()
        .compressed(FILE, compressible(1, (BLOCKS * SPAN - 1) * BLOCK + 5))
        .build()
}

/// A daemon of that image on an empty disk.
fn fresh_daemon(ctx: &Context) -> Result<Daemon> {
    sys::empty_cache()?;
    let device = ctx.device()?;
    device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))?;
    Ok(Daemon::new(device, FSID, image()))
}

fn mounted(ctx: &Context, daemon: &mut Daemon) -> Result<Mounted> {
    daemon
        .mount(&ctx.mount_point(FSID), OPTIONS, None)?
        .context("mounting")
}

fn mount_of_a_compressed_image(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let mut daemon = fresh_daemon(walk.ctx)?;
        let point = walk.ctx.mount_point(FSID);
        let result = fault.around(|| daemon.mount(&point, OPTIONS, Some(fault)))??;
        let said = outcome(&result);
        if let Ok(mounted) = result {
            daemon.unmount(mounted, None)?;
        }
        daemon.settle()?;
        drop(daemon);
        // Whatever became of the cache.
        let mut daemon = fresh_daemon(walk.ctx)?;
        let mounted = mounted(walk.ctx, &mut daemon)?;
        daemon.check(&mounted)?;
        daemon.unmount(mounted, None)?;
        Ok(said)
    })
}

/// Reads under failure, and again once nothing fails any more.
fn read(daemon: &mut Daemon, mounted: &Mounted, fault: &Fault) -> Result<String> {
    let result = fault.around(|| daemon.read(mounted, FILE, Some(fault)))??;
    daemon.check(mounted)?;
    Ok(outcome(&result))
}

/// With a cache that `before` puts something into, or nothing.
fn each_read(walk: &mut Walk<'_>, before: fn(&mut Daemon, &Mounted) -> Result<()>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let mut daemon = fresh_daemon(walk.ctx)?;
        let mounted = mounted(walk.ctx, &mut daemon)?;
        before(&mut daemon, &mounted)?;
        let said = read(&mut daemon, &mounted, fault)?;
        daemon.unmount(mounted, None)?;
        Ok(said)
    })
}

fn compressed_read_cold(walk: &mut Walk<'_>) -> Result<()> {
    each_read(walk, |_, _| Ok(()))
}

fn compressed_read_warm(walk: &mut Walk<'_>) -> Result<()> {
    each_read(walk, |daemon, mounted| {
        daemon.check(mounted)?;
        std::fs::write("/proc/sys/vm/drop_caches", "3").context("drop_caches")
    })
}

/// Every other compressed block is there.
fn compressed_read_partly_cached(walk: &mut Walk<'_>) -> Result<()> {
    each_read(walk, |daemon, _| {
        let (id, _) = daemon.session.object_of(FSID.as_bytes())?;
        let start = daemon.image.data_start;
        for block in (0..BLOCKS).step_by(2) {
            let off = start + (block * BLOCK) as u64;
            daemon.session.fill(id, off, BLOCK as u64)?;
        }
        Ok(())
    })
}

/// The daemon completes each READ of data without having written any.
fn compressed_read_that_is_refused(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let mut daemon = fresh_daemon(walk.ctx)?;
        let mounted = mounted(walk.ctx, &mut daemon)?;
        let image = image();
        daemon.session.hold_data(FSID, &image);
        let result = fault.around(|| refused_read(&mut daemon, &mounted, fault))??;
        daemon.session.hold_reads = None;
        daemon.check(&mounted)?;
        daemon.unmount(mounted, None)?;
        Ok(result)
    })
}

fn refused_read(daemon: &mut Daemon, mounted: &Mounted, fault: &Fault) -> Result<String> {
    let (path, fault) = (mounted.file(FILE), fault.clone());
    let task = Task::start("a read", move || fault.in_thread(|| std::fs::read(path)));
    while !task.is_done() {
        daemon.serve_until("a read that is refused", |session| {
            task.is_done() || !session.held.is_empty()
        })?;
        for read in std::mem::take(&mut daemon.session.held) {
            // Where this fails, or the object is gone, the READ comes again.
            if let Ok(object) = daemon.session.object(read.object_id)
                && object.fd.complete_read(read.msg_id).is_err()
            {
                let _ = daemon.session.device.restore();
            }
        }
    }
    match task.finish()?? {
        Ok(_) => anyhow::bail!("was read, though nothing was written"),
        Err(error) => Ok(error.kind().to_string()),
    }
}
