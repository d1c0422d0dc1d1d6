// SPDX-License-Identifier: GPL-2.0
//! Images are mounted and unmounted: volumes and objects come and go, on workers of the kernel.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::image::{BLOCK, Builder, Image, pattern};
use cachefiles_harness::sys;
use cachefiles_protocol::key_path;
use rustix::fs::XattrFlags;

use super::{EVERYWHERE, FSID, OPTIONS, Step, daemon, fresh_daemon, outcome, prove, step};
use crate::daemon::{Daemon, Mounted};
use crate::inject::Fault;
use crate::walk::{Below, Walk};

pub const STEPS: &[Step] = &[
    step!(mount_on_an_empty_disk, EVERYWHERE),
    step!(mount_of_a_cached_image, EVERYWHERE),
    step!(mount_with_long_names, EVERYWHERE),
    step!(mount_over_a_stale_file, EVERYWHERE),
    step!(mount_over_a_stale_volume, EVERYWHERE),
    step!(mount_over_a_directory, EVERYWHERE),
    step!(mount_that_is_refused, EVERYWHERE),
    step!(second_mount_in_a_domain, EVERYWHERE),
    step!(unmount, EVERYWHERE),
    step!(close_device_under_a_mount, EVERYWHERE),
];

/// Mounts, reads what can be read, unmounts; only the mount is under failure.
fn mount(ctx: &Context, daemon: &mut Daemon, fault: &Fault) -> Result<String> {
    let point = ctx.mount_point(FSID);
    let result = fault.around(|| daemon.mount(&point, OPTIONS, Some(fault)))??;
    let mut said = outcome(&result);
    if let Ok(mounted) = result {
        let names: Vec<String> = daemon.image.files.keys().cloned().collect();
        for name in names {
            let read = daemon.read(&mounted, &name, None)?;
            if read.is_err() {
                said.push_str(&format!(", read {}", outcome(&read)));
            }
        }
        daemon.unmount(mounted, None)?;
    }
    daemon.settle()?;
    Ok(said)
}

fn mount_on_an_empty_disk(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let mut daemon = fresh_daemon(walk.ctx)?;
        let said = mount(walk.ctx, &mut daemon, fault)?;
        prove(walk.ctx, daemon)?;
        Ok(said)
    })
}

fn mount_of_a_cached_image(walk: &mut Walk<'_>) -> Result<()> {
    prove(walk.ctx, fresh_daemon(walk.ctx)?)?;
    walk.each(Below::Module, |walk, fault| {
        let mut daemon = daemon(walk.ctx)?;
        let said = mount(walk.ctx, &mut daemon, fault)?;
        prove(walk.ctx, daemon)?;
        Ok(said)
    })
}

/// Names of files that do not fit into the object: of a printable key and of one that is none.
fn mount_with_long_names(walk: &mut Walk<'_>) -> Result<()> {
    let fsid = "long-".repeat(30);
    let image = || -> Image {
        Builder::new()
            .device([0xfe; 60])
            .chunked("file", pattern(1, 2 * BLOCK), 1, &[Some(1), Some(0)])
            .build()
    };
    let options = format!("fsid={fsid}");
    walk.each(Below::Module, |walk, fault| {
        sys::empty_cache()?;
        let device = walk.ctx.device()?;
        device.bind_ondemand(sys::CACHE.as_ref(), Some("walk"))?;
        let mut daemon = Daemon::new(device, &fsid, image());
        let point = walk.ctx.mount_point(FSID);
        let result = fault.around(|| daemon.mount(&point, &options, Some(fault)))??;
        let said = outcome(&result);
        if let Ok(mounted) = result {
            daemon.unmount(mounted, None)?;
        }
        drop(daemon);
        prove(walk.ctx, self::daemon(walk.ctx)?)?;
        Ok(said)
    })
}

/// A mount of an image whose place in the store was tampered with.
fn mount_over(walk: &mut Walk<'_>, tamper: fn() -> Result<()>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        prove(walk.ctx, fresh_daemon(walk.ctx)?)?;
        tamper()?;
        let mut daemon = daemon(walk.ctx)?;
        let said = mount(walk.ctx, &mut daemon, fault)?;
        prove(walk.ctx, daemon)?;
        Ok(said)
    })
}

/// The cache file of the image's blob.
fn blob_file() -> PathBuf {
    let volume = format!("erofs,{FSID}");
    Path::new(sys::CACHE).join(key_path(volume.as_bytes(), b"blob"))
}

fn set_attribute(path: &Path, value: &[u8]) -> Result<()> {
    rustix::fs::setxattr(path, "user.CacheFiles.cache", value, XattrFlags::empty())
        .with_context(|| format!("setting the attribute of {}", path.display()))
}

fn mount_over_a_stale_file(walk: &mut Walk<'_>) -> Result<()> {
    mount_over(walk, || set_attribute(&blob_file(), b"another one's"))
}

fn mount_over_a_stale_volume(walk: &mut Walk<'_>) -> Result<()> {
    mount_over(walk, || {
        let volume = Path::new(sys::CACHE).join(format!("cache/Ierofs,{FSID}"));
        set_attribute(&volume, b"odd")
    })
}

fn mount_over_a_directory(walk: &mut Walk<'_>) -> Result<()> {
    mount_over(walk, || {
        fs::remove_file(blob_file())?;
        Ok(fs::create_dir(blob_file())?)
    })
}

/// The daemon does not know the image.
fn mount_that_is_refused(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let mut daemon = fresh_daemon(walk.ctx)?;
        let blobs = std::mem::take(&mut daemon.session.blobs);
        let said = mount(walk.ctx, &mut daemon, fault)?;
        daemon.session.blobs = blobs;
        daemon.settle()?;
        prove(walk.ctx, daemon)?;
        Ok(said)
    })
}

fn second_mount_in_a_domain(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let mut daemon = fresh_daemon(walk.ctx)?;
        let second = daemon.session.blobs.get(FSID.as_bytes()).cloned();
        let second = second.context("no primary blob")?;
        daemon.session.blobs.insert(b"second".to_vec(), second);
        let first = daemon
            .mount(
                &walk.ctx.mount_point("first"),
                "domain_id=domain,fsid=walk",
                None,
            )?
            .context("the first mount")?;
        let point = walk.ctx.mount_point("second");
        let options = "domain_id=domain,fsid=second";
        let result = fault.around(|| daemon.mount(&point, options, Some(fault)))??;
        let said = outcome(&result);
        if let Ok(second) = result {
            daemon.unmount_one(second)?;
        }
        let second = daemon
            .mount(&point, options, None)?
            .context("the second mount once nothing fails any more")?;
        daemon.check(&second)?;
        daemon.check(&first)?;
        daemon.unmount_one(second)?;
        daemon.unmount(first, None)?;
        prove(walk.ctx, daemon)?;
        Ok(said)
    })
}

/// A mount with everything in it read once.
fn used_mount(ctx: &Context, daemon: &mut Daemon) -> Result<Mounted> {
    let mounted = daemon
        .mount(&ctx.mount_point(FSID), OPTIONS, None)?
        .context("mounting")?;
    daemon.check(&mounted)?;
    Ok(mounted)
}

fn unmount(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let mut daemon = fresh_daemon(walk.ctx)?;
        let mounted = used_mount(walk.ctx, &mut daemon)?;
        fault.around(|| daemon.unmount(mounted, Some(fault)))??;
        prove(walk.ctx, daemon)?;
        Ok("ok".into())
    })
}

/// The daemon is gone, and its cache; the mount stays.
fn close_device_under_a_mount(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let mut daemon = fresh_daemon(walk.ctx)?;
        let mounted = used_mount(walk.ctx, &mut daemon)?;
        fault.hit(move || drop(daemon))?;
        mounted.unmount()?;
        cachefiles_harness::share::wait_for_no_cookies()?;
        prove(walk.ctx, self::daemon(walk.ctx)?)?;
        Ok("ok".into())
    })
}
