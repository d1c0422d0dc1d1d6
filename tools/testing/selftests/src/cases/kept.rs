// SPDX-License-Identifier: GPL-2.0
//! A cache without a daemon, for as long as images in it are mounted.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Device, Errno};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use sha2::{Digest, Sha256};

use super::restore::two_blobs;
use crate::context::{Context, TAG, expect_errno};
use crate::image::Image;
use crate::registry::{Skip, Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::share::{bind_device, drop_caches};
use crate::sys;
use crate::task::{read_in_background, soon};

const WITHDRAWN: &str = "the cache is withdrawn: everything fails";

pub const TESTS: &[Test] = &[
    test!(
        what_is_cached_is_read_without_a_daemon,
        "a daemon that ends takes nothing away that is on the disk"
    )
    .c_fails(WITHDRAWN),
    test!(
        what_is_not_cached_fails_at_once_without_a_daemon,
        "readers do not wait for nobody"
    ),
    test!(
        cached_compressed_image_is_read_without_a_daemon,
        "EROFS corrupts memory when it cannot begin to read a compressed image"
    )
    .c_skips("the cache is withdrawn, and EROFS uses a bio after it is freed")
    .limit(120),
    test!(
        next_daemon_serves_the_mounts_of_the_last,
        "a daemon that starts again goes on where the last one ended"
    )
    .c_fails(WITHDRAWN),
    test!(
        next_daemon_comes_many_times,
        "no end of a daemon is the last"
    )
    .c_fails(WITHDRAWN),
    test!(
        kept_cache_is_no_other_daemons,
        "another directory, name or mode is refused, and not mixed up"
    )
    .c_skips("there is no kept cache"),
    test!(
        images_go_to_the_kept_cache_and_not_to_another,
        "of two caches only one has images, so that no two are kept"
    )
    .c_skips("there is no kept cache"),
    test!(
        device_is_closed_while_an_fd_is_open,
        "what the last daemon left open ends first"
    )
    .c_fails(WITHDRAWN),
    test!(
        kept_cache_goes_with_its_last_mount,
        "module and file system are free once the images are unmounted"
    )
    .c_skips("there is no kept cache"),
    test!(
        daemon_comes_while_a_kept_cache_goes,
        "there is no bad moment to bind"
    )
    .limit(120),
];

const FSID: &str = "kept";

/// An image of two blobs, of which `a` is read and `b` is not, without a daemon.
fn kept(ctx: &Context, image: &Image) -> Result<Mount> {
    let (session, mount) = served(ctx, image)?;
    drop(session);
    drop_caches()?;
    Ok(mount)
}

/// The same with its daemon.
fn served(ctx: &Context, image: &Image) -> Result<(Session, Mount)> {
    let mut session = ctx.session(FSID, image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let data = session.read_file(&mount.file("a"))?;
    ensure!(data == image.files["a"], "wrong content");
    session.look_up(&mount.file("b"))?;
    Ok((session, mount))
}

fn is_readable(mount: &Mount, image: &Image, name: &str) -> Result<()> {
    let data = read_in_background(&mount.file(name)).finish()?;
    let data = data.with_context(|| format!("reading {name} without a daemon"))?;
    ensure!(data == image.files[name], "{name} has wrong content");
    Ok(())
}

fn fails_at_once(mount: &Mount, name: &str) -> Result<()> {
    let begin = Instant::now();
    let result = read_in_background(&mount.file(name)).finish()?;
    ensure!(result.is_err(), "{name} was read, and nobody served it");
    ensure!(
        begin.elapsed() < soon() / 4,
        "the error took {:?}",
        begin.elapsed()
    );
    Ok(())
}

/// Unmounts, and waits until nothing of a cache is left.
fn gone(mount: Mount) -> Result<()> {
    mount.unmount().finish()??;
    sys::wait_for("the cache to go", soon(), || {
        sys::module_references().is_ok_and(|count| count == 0)
    })
}

fn what_is_cached_is_read_without_a_daemon(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mount = kept(ctx, &image)?;
    for _ in 0..2 {
        is_readable(&mount, &image, "a")?;
        drop_caches()?;
    }
    gone(mount)
}

fn what_is_not_cached_fails_at_once_without_a_daemon(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mount = kept(ctx, &image)?;
    for _ in 0..2 {
        fails_at_once(&mount, "b")?;
    }
    gone(mount)
}

fn cached_compressed_image_is_read_without_a_daemon(ctx: &Context) -> Result<()> {
    let images = ctx.made_images()?;
    let Some(image) = images.iter().find(|image| image.name.contains("lz4")) else {
        return Err(Skip("no image named lz4 among those given".into()).into());
    };
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    let primary = Arc::new(image.primary.clone());
    session.blobs.insert(image.name.clone().into(), primary);
    let options = format!("fsid={}", image.name);
    let mount = session.mount(&ctx.mount_point(&image.name), options)?;
    for (_, file) in &image.files {
        session.read_file(&mount.path().join(file))?;
    }
    drop(session);
    drop_caches()?;
    for (sum, file) in &image.files {
        let data = read_in_background(&mount.path().join(file)).finish()?;
        let data = data.with_context(|| format!("reading {} without a daemon", file.display()))?;
        let seen = format!("{:x}", Sha256::digest(&data));
        ensure!(seen == *sum, "{} has checksum {seen}", file.display());
    }
    gone(mount)
}

fn next_daemon_serves_the_mounts_of_the_last(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mount = kept(ctx, &image)?;
    let mut session = ctx.session(FSID, &image)?;
    session.pump_for(Duration::from_millis(100))?;
    ensure!(session.log.opens.is_empty(), "asked though nobody reads");
    is_readable(&mount, &image, "a")?;
    let data = session.read_file(&mount.file("b"))?;
    ensure!(data == image.files["b"], "wrong content");
    let opens: Vec<_> = session.log.opens.iter().map(|(_, _, key)| key).collect();
    ensure!(opens == [b"blob-b"], "OPENs: {opens:?}");
    // And another image, by the same cache.
    let other = session.mount(&ctx.mount_point("other"), "fsid=other");
    ensure!(other.is_err(), "an image without a blob was mounted");
    session.unmount(mount)?;
    session.settle()
}

fn next_daemon_comes_many_times(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (session, mount) = served(ctx, &image)?;
    drop(session);
    for round in 0..10 {
        let mut session = ctx.session(FSID, &image)?;
        session.hold_data(FSID, &image);
        let reader = read_in_background(&mount.file("b"));
        session
            .pump_until("a READ", |session| !session.held.is_empty())
            .with_context(|| format!("daemon {round}"))?;
        // It goes without an answer, sometimes before it has accepted the object again.
        drop(session);
        ensure!(reader.finish()?.is_err(), "a READ without an answer");
        let mut session = ctx.session(FSID, &image)?;
        session.hold_opens = true;
        let reader = read_in_background(&mount.file("b"));
        session
            .pump_until("an OPEN", |session| !session.held_opens.is_empty())
            .with_context(|| format!("daemon {round} with an OPEN"))?;
        drop(session);
        ensure!(reader.finish()?.is_err(), "an OPEN without an answer");
    }
    let mut session = ctx.session(FSID, &image)?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

/// A daemon that means a cache that is there for the next one by its name or by its directory alone
/// does not get it.
pub(super) fn half_the_same_is_refused(ctx: &Context) -> Result<()> {
    let cache = Path::new(sys::CACHE);
    expect_errno(
        ctx.device()?.bind_ondemand(cache, Some("another")),
        Errno::BUSY,
        "another name for the same directory",
    )?;
    let elsewhere = cache.join("elsewhere");
    std::fs::create_dir_all(&elsewhere)?;
    expect_errno(
        ctx.device()?.bind_ondemand(&elsewhere, Some(TAG)),
        Errno::BUSY,
        "another directory of the same name",
    )
}

fn kept_cache_is_no_other_daemons(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mount = kept(ctx, &image)?;
    let cache = Path::new(sys::CACHE);
    half_the_same_is_refused(ctx)?;
    expect_errno(
        bind_device(&ctx.device()?, cache, TAG),
        Errno::BUSY,
        "the original mode",
    )?;
    // One that has nothing to do with it.
    let device = ctx.device()?;
    device
        .bind_ondemand(&cache.join("elsewhere"), Some("another"))
        .context("binding another cache")?;
    is_readable(&mount, &image, "a")?;
    drop(device);
    is_readable(&mount, &image, "a")?;
    // What was refused is not the worse for it.
    let mut session = Session::new(ctx.bound_device()?, blobs_of(FSID, &image));
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn images_go_to_the_kept_cache_and_not_to_another(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mount = kept(ctx, &image)?;
    let elsewhere = Path::new(sys::CACHE).join("elsewhere");
    std::fs::create_dir_all(&elsewhere)?;
    for round in 0..2 {
        let device = ctx.device()?;
        device
            .bind_ondemand(&elsewhere, Some("another"))
            .with_context(|| format!("binding another cache, round {round}"))?;
        let mut session = Session::new(Arc::new(device), blobs_of("other", &image));
        // fscache gives the volume to the cache that is the oldest, and that has no daemon.
        let other = session.try_mount(&ctx.mount_point("other"), b"fsid=other")?;
        ensure!(other.is_err(), "the image is in the new cache");
        ensure!(session.log.opens.is_empty(), "the new daemon was asked");
        is_readable(&mount, &image, "a")?;
        fails_at_once(&mount, "b")?;
        drop(session);
        drop_caches()?;
        is_readable(&mount, &image, "a")?;
    }
    // The other one was not kept: its directory is free for whatever comes.
    bind_device(&ctx.device()?, &elsewhere, "third").context("binding the other directory")?;
    let mut session = ctx.session(FSID, &image)?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn device_is_closed_while_an_fd_is_open(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = served(ctx, &image)?;
    let objects = std::mem::take(&mut session.objects);
    drop(session);
    drop_caches()?;
    is_readable(&mount, &image, "a")?;
    fails_at_once(&mount, "b")?;
    expect_errno(Device::open().map(drop), Errno::BUSY, "opening the device")?;
    drop(objects);
    is_readable(&mount, &image, "a")?;
    let mut session = ctx.session(FSID, &image)?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn kept_cache_goes_with_its_last_mount(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    // The cache by way of a mount of its own, which can be seen to be in use.
    let place = ctx.work.join("place");
    std::fs::create_dir_all(&place)?;
    mount_bind(sys::CACHE, &place)?;
    let device = ctx.device()?;
    device.bind_ondemand(&place, Some(TAG))?;
    let mut session = Session::new(Arc::new(device), blobs_of(FSID, &image));
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    drop(session);
    let busy = |what: &str| -> Result<()> {
        expect_errno(sys::remove_module(), Errno::AGAIN, what)?;
        expect_errno(unmount(&place, UnmountFlags::empty()), Errno::BUSY, what)
    };
    busy("a kept cache")?;
    gone(mount)?;
    sys::unmount_patiently(&place, soon())?;
    sys::remove_module().context("removing the module")?;
    ctx.load_own_module()
}

fn daemon_comes_while_a_kept_cache_goes(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    for _ in 0..20 {
        let mount = kept(ctx, &image)?;
        let unmount = mount.unmount();
        let session = ctx.session(FSID, &image)?;
        unmount.finish()??;
        drop(session);
    }
    sys::wait_for("the cache to go", soon(), || {
        sys::module_references().is_ok_and(|count| count == 0)
    })
}
