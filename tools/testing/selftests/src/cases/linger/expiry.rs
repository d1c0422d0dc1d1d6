// SPDX-License-Identifier: GPL-2.0
//! The end of the waiting.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;

use super::{FSID, LONG, NO_LINGER, attached, end, in_flight, is_served, served};
use crate::context::{Context, TAG, expect_errno, expect_io_errno};
use crate::registry::{Test, test};
use crate::session::Session;
use crate::share::drop_caches;
use crate::sys;
use crate::task::{Task, read_in_background, soon};

pub const TESTS: &[Test] = &[
    test!(
        linger_is_over_after_its_time,
        "readers wait for as long as was said, and then get an error"
    )
    .limit(60)
    .c_fails(NO_LINGER),
    test!(
        linger_that_is_over_leaves_nothing_behind,
        "without images the cache goes, and the module may"
    )
    .limit(60)
    .c_fails(NO_LINGER),
    test!(
        linger_that_is_over_waits_for_fds_that_others_have,
        "a cache whose fds somebody has is not withdrawn under them"
    )
    .limit(60)
    .c_fails(NO_LINGER),
    test!(
        linger_that_ends_meets_daemons_that_come,
        "there is no bad moment to attach"
    )
    .limit(180)
    .c_fails(NO_LINGER),
    test!(
        linger_that_is_over_late_ends_no_other,
        "a clock that was stopped too late does not cut short the next waiting"
    )
    .limit(180)
    .c_fails(NO_LINGER),
    test!(
        linger_is_as_long_as_the_last_daemon_said,
        "a daemon that means to end the cache can"
    )
    .limit(60)
    .c_fails(NO_LINGER),
];

/// What is cached is read, and what is not fails at once: the cache is kept.
fn is_kept(mount: &crate::session::Mount, image: &crate::image::Image) -> Result<()> {
    drop_caches()?;
    let data = read_in_background(&mount.file("a")).finish()?;
    let data = data.context("what is cached, without a daemon")?;
    ensure!(data == image.files["a"], "wrong content");
    let begun = Instant::now();
    let result = read_in_background(&mount.file("b")).finish()?;
    ensure!(result.is_err(), "b was read, and nobody served it");
    ensure!(begun.elapsed() < soon() / 4, "the error took its time");
    Ok(())
}

fn linger_is_over_after_its_time(ctx: &Context) -> Result<()> {
    let image = super::two_blobs();
    let (session, mount, reader) = in_flight(ctx, &image, 2)?;
    let begun = Instant::now();
    drop(session);
    // Its OPEN waits as well.
    let other = ctx.mount_point("other");
    std::fs::create_dir_all(&other)?;
    let other = Task::start("mounting", move || sys::mount_erofs(&other, b"fsid=other"));
    expect_io_errno(reader.finish()?, Errno::IO, "the reader")?;
    let took = begun.elapsed();
    ensure!(took >= Duration::from_millis(1900), "it took {took:?} only");
    ensure!(
        other.finish()?.is_err(),
        "nobody has opened the other image"
    );
    is_kept(&mount, &image)?;
    // And the next daemon takes it over, as ever; by `attach`, too.
    let mut session = attached(ctx, &image)?;
    session.check_files(&mount, &image)?;
    session.device.set_linger(0)?;
    drop(session);
    let mut session = ctx.session(FSID, &image)?;
    session.check_files(&mount, &image)?;
    end(session, mount)
}

fn linger_that_is_over_leaves_nothing_behind(ctx: &Context) -> Result<()> {
    for round in 0..2 {
        let device = ctx.bound_device()?;
        device.set_linger(1)?;
        drop(device);
        ensure!(sys::module_references()? > 0, "it did not linger");
        sys::wait_until_unused(soon())?;
        let device = ctx.device()?;
        expect_errno(device.attach(TAG), Errno::NOENT, "a cache that is gone")?;
        if round == 0 {
            drop(device);
            drop(ctx.bound_device()?);
        }
    }
    // The directory is free for another cache.
    let device = ctx.device()?;
    device.bind_ondemand(sys::CACHE.as_ref(), Some("another"))?;
    drop(device);
    sys::wait_until_unused(soon())?;
    sys::remove_unused_module(soon())?;
    ctx.load_own_module()
}

fn linger_that_is_over_waits_for_fds_that_others_have(ctx: &Context) -> Result<()> {
    let image = super::two_blobs();
    let (mut session, mount) = served(ctx, &image, 1)?;
    let objects = std::mem::take(&mut session.objects);
    drop(session);
    sys::wait_for("the end", soon(), || {
        read_in_background(&mount.file("b"))
            .finish()
            .is_ok_and(|read| read.is_err())
    })?;
    let device = ctx.device()?;
    expect_errno(device.attach(TAG), Errno::BUSY, "attach")?;
    expect_errno(
        device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG)),
        Errno::BUSY,
        "bind",
    )?;
    drop(device);
    drop(objects);
    is_kept(&mount, &image)?;
    let mut session = ctx.session(FSID, &image)?;
    session.check_files(&mount, &image)?;
    end(session, mount)
}

/// Removes what is cached of `b`, so that there is something to be fetched again.
fn forget_b() -> Result<()> {
    drop_caches()?;
    let blob = cachefiles_protocol::key_path(format!("erofs,{FSID}").as_bytes(), b"blob-b");
    let blob = std::path::Path::new(sys::CACHE).join(blob);
    let file = std::fs::OpenOptions::new().write(true).open(blob)?;
    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE;
    let flags = flags | rustix::fs::FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(&file, flags, 0, 64 * 4096)?)
}

fn linger_that_is_over_late_ends_no_other(ctx: &Context) -> Result<()> {
    let image = super::two_blobs();
    let (mut session, mount) = served(ctx, &image, 1)?;
    for round in 0..8 {
        drop(session);
        // The time is about to be over, or just was.
        std::thread::sleep(Duration::from_millis(980 + 20 * round));
        session = attached(ctx, &image)?;
        session.device.set_linger(LONG)?;
        session.hold_data(FSID, &image);
        let reader = read_in_background(&mount.file("b"));
        session.pump_until("a READ", |session| !session.held.is_empty())?;
        drop(session);
        std::thread::sleep(Duration::from_secs(1));
        ensure!(
            !reader.is_done(),
            "round {round}: the time of before has ended it"
        );
        session = attached(ctx, &image)?;
        is_served(&mut session, reader, &image)?;
        forget_b()?;
        session.device.set_linger(1)?;
    }
    end(session, mount)
}

fn linger_that_ends_meets_daemons_that_come(ctx: &Context) -> Result<()> {
    const ROUNDS: u64 = 16;
    let image = super::two_blobs();
    let (mut session, mount) = served(ctx, &image, 1)?;
    let mut lost = 0;
    for round in 0..ROUNDS {
        session.hold_data(FSID, &image);
        let reader = read_in_background(&mount.file("b"));
        session.pump_until("a READ", |session| !session.held.is_empty())?;
        drop(session);
        std::thread::sleep(Duration::from_millis(960 + 5 * round));
        // By name, or by the directory: either finds it, waiting or kept.
        session = if round % 2 == 0 {
            attached(ctx, &image)?
        } else {
            ctx.session(FSID, &image)?
        };
        session.device.set_linger(1)?;
        session.pump_until("the read to return", |_| reader.is_done())?;
        match reader.finish()? {
            Ok(data) => ensure!(data == image.files["b"], "wrong content"),
            Err(_) => lost += 1,
        }
        drop(session);
        forget_b()?;
        session = attached(ctx, &image)?;
    }
    ensure!(lost < ROUNDS, "not one of them came in time");
    // The same without images, where the cache goes in the end.
    session.unmount(mount)?;
    session.settle()?;
    session.device.set_linger(1)?;
    drop(session);
    for round in 0..8 {
        std::thread::sleep(Duration::from_millis(970 + 8 * round));
        let device = ctx.device()?;
        match device.attach(TAG) {
            Ok(()) => {}
            Err(Errno::NOENT) => device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))?,
            other => other?,
        }
        device.set_linger(1)?;
    }
    let session = Session::new(ctx.bound_device()?, Default::default());
    session.device.set_linger(0)?;
    drop(session);
    sys::wait_until_unused(soon())
}

fn linger_is_as_long_as_the_last_daemon_said(ctx: &Context) -> Result<()> {
    let image = super::two_blobs();
    // Before `bind`.
    let device = ctx.device()?;
    device.set_linger(LONG)?;
    device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))?;
    drop(device);
    let device = ctx.device()?;
    device.attach(TAG)?;
    device.set_linger(0)?;
    drop(device);
    sys::wait_until_unused(Duration::from_secs(5))?;
    // A daemon that says nothing leaves it to the parameter, whatever the last one said.
    let (session, mount) = served(ctx, &image, LONG)?;
    drop(session);
    let session = ctx.session(FSID, &image)?;
    drop(session);
    is_kept(&mount, &image)?;
    // What the daemon says comes before the parameter.
    super::gates::set("linger", "600")?;
    let session = ctx.session(FSID, &image)?;
    session.device.set_linger(0)?;
    drop(session);
    is_kept(&mount, &image)?;
    let session = ctx.session(FSID, &image)?;
    drop(session);
    let mut session = attached(ctx, &image)?;
    super::gates::set("linger", "0")?;
    session.check_files(&mount, &image)?;
    end(session, mount)
}
