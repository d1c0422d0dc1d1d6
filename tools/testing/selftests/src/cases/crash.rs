// SPDX-License-Identifier: GPL-2.0
//! Failover in earnest: daemons that are processes and die of SIGKILL.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Device, Errno};

use crate::actor::{Actor, store_blobs};
use crate::context::{Context, expect_errno};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Module, Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::sys;
use crate::task::{Task, read_in_background};

pub const TESTS: &[Test] = &[
    test!(
        daemon_killed_under_a_holder_and_replaced_with_restore,
        "readers do not notice a kill -9"
    ),
    test!(
        daemon_killed_under_a_holder_and_replaced_without_restore,
        "FAULTS 2: readers do not notice, even if the new daemon knows nothing"
    )
    .c_fails("READs that were delivered wait for `restore`"),
    test!(
        daemon_killed_without_a_holder_fails_its_readers,
        "without failover there are errors, not hangs"
    ),
    test!(
        cache_of_a_daemon_killed_without_a_holder_is_good_for_the_next,
        "what was fetched survives"
    ),
    test!(
        unmount_during_a_crash_ends,
        "CVE-2024-41057, CVE-2024-41058: a mount can be taken down at any time"
    ),
    test!(
        module_goes_when_the_mounts_of_a_dead_cache_are_gone,
        "rmmod is refused in use, and clean after"
    ),
    test!(
        crash_at_any_moment_of_a_mount_leaves_nothing_behind,
        "CVE-2024-40900, CVE-2024-40935: there is no bad moment for the last close"
    )
    .limit(120),
    test!(
        kill_storm_with_checksums_loses_nothing,
        "twenty kills under load"
    )
    .limit(180),
];

/// A mounted image that is served by a process, with the device held by the test.
fn served(
    ctx: &Context,
    image: &Image,
    flags: &[&str],
) -> Result<(Session, PathBuf, Mount, Actor)> {
    let mut session = ctx.session("killed", image)?;
    let blobs = ctx.work.join("blobs");
    store_blobs(&blobs, &session.blobs)?;
    let mount = session.mount(&ctx.mount_point("killed"), "fsid=killed")?;
    // The process takes over from the test by the same way as from a dead one.
    session.crash();
    let actor = Actor::daemon(&session.device, &blobs, flags)?;
    Ok((session, blobs, mount, actor))
}

fn one_file() -> Image {
    Builder::new()
        .device("blob")
        .chunked("a", pattern(1, 8 * BLOCK), 8, &[Some(1)])
        .build()
}

/// Waits until fscache knows no cookie and no volume any more.
fn nothing_left() -> Result<()> {
    sys::wait_for(
        "all cookies and volumes to go",
        crate::task::soon(),
        sys::nothing_cached,
    )
}

fn replaced(ctx: &Context, flags: &[&str]) -> Result<()> {
    let image = one_file();
    let (session, blobs, mount, mute) = served(ctx, &image, &["--mute"])?;
    let reader = read_in_background(&mount.file("a"));
    std::thread::sleep(Duration::from_millis(500));
    ensure!(!reader.is_done(), "a mute daemon answered");
    mute.kill()?;
    let daemon = Actor::daemon(&session.device, &blobs, flags)?;
    let data = reader.finish()?.context("the reader noticed")?;
    ensure!(data == image.files["a"], "wrong content");
    mount.unmount().finish()??;
    nothing_left()?;
    daemon.kill()
}

fn daemon_killed_under_a_holder_and_replaced_with_restore(ctx: &Context) -> Result<()> {
    replaced(ctx, &["--restore"])
}

fn daemon_killed_under_a_holder_and_replaced_without_restore(ctx: &Context) -> Result<()> {
    replaced(ctx, &[])
}

/// A mount that is served by a process which nobody else's fd outlives.
fn lone(ctx: &Context, image: &Image, flags: &[&str]) -> Result<(PathBuf, Mount, Actor)> {
    let blobs = ctx.work.join("blobs");
    store_blobs(&blobs, &blobs_of("killed", image))?;
    // The first one gets the metadata into the cache.
    let daemon = Actor::lone_daemon(&blobs, &[])?;
    mount_plainly(ctx)?.unmount().finish()??;
    nothing_left()?;
    daemon.kill()?;
    let daemon = Actor::lone_daemon(&blobs, flags)?;
    Ok((blobs, mount_plainly(ctx)?, daemon))
}

fn mount_plainly(ctx: &Context) -> Result<Mount> {
    let point = ctx.mount_point("killed");
    std::fs::create_dir_all(&point)?;
    Ok(Task::start("mount", move || {
        sys::mount_erofs(&point, b"fsid=killed").map(|()| Mount::at(point))
    })
    .finish()??)
}

fn daemon_killed_without_a_holder_fails_its_readers(ctx: &Context) -> Result<()> {
    let image = one_file();
    let (_, mount, daemon) = lone(ctx, &image, &["--mute"])?;
    let reader = read_in_background(&mount.file("a"));
    std::thread::sleep(Duration::from_millis(300));
    ensure!(!reader.is_done(), "a mute daemon answered");
    daemon.kill()?;
    ensure!(
        reader.finish()?.is_err(),
        "a read that nobody answered succeeded"
    );
    let again = read_in_background(&mount.file("a")).finish()?;
    ensure!(again.is_err(), "a read from a dead cache succeeded");
    mount.unmount().finish()??;
    nothing_left()
}

fn cache_of_a_daemon_killed_without_a_holder_is_good_for_the_next(ctx: &Context) -> Result<()> {
    let image = one_file();
    let (_, mount, daemon) = lone(ctx, &image, &[])?;
    let data = read_in_background(&mount.file("a")).finish()??;
    ensure!(data == image.files["a"], "wrong content");
    daemon.kill()?;
    mount.unmount().finish()??;
    nothing_left()?;
    let mut session = ctx.session("killed", &image)?;
    let mount = session.mount(&ctx.mount_point("killed"), "fsid=killed")?;
    session.check_files(&mount, &image)?;
    ensure!(
        session.log.reads.is_empty(),
        "READs: {:?}",
        session.log.reads
    );
    session.unmount(mount)?;
    session.settle()
}

fn unmount_during_a_crash_ends(ctx: &Context) -> Result<()> {
    let image = one_file();
    for _ in 0..3 {
        let (_, mount, daemon) = lone(ctx, &image, &["--mute"])?;
        let reader = Actor::reader(&mount.file("a"))?;
        std::thread::sleep(Duration::from_millis(200));
        // Both at once: the reader is failed, and the mount goes while the cache is withdrawn.
        let unmount = mount.unmount();
        daemon.kill()?;
        unmount.finish()??;
        ensure!(reader.said()?.contains("error"), "the reader was not told");
        nothing_left()?;
        sys::empty_cache()?;
    }
    Ok(())
}

fn module_goes_when_the_mounts_of_a_dead_cache_are_gone(ctx: &Context) -> Result<()> {
    let image = one_file();
    let (_, mount, daemon) = lone(ctx, &image, &[])?;
    expect_errno(
        sys::remove_module(),
        Errno::AGAIN,
        "removing the module in use",
    )?;
    daemon.kill()?;
    if ctx.module() == Module::C {
        // There it goes under the mount.
        sys::wait_until_unused(crate::task::soon())?;
    } else {
        expect_errno(
            sys::remove_module(),
            Errno::AGAIN,
            "removing the module under a mount",
        )?;
    }
    ensure!(
        read_in_background(&mount.file("a")).finish()?.is_err(),
        "a read without a daemon"
    );
    mount.unmount().finish()??;
    sys::remove_unused_module(crate::task::soon())?;
    ctx.load_own_module()
}

fn crash_at_any_moment_of_a_mount_leaves_nothing_behind(ctx: &Context) -> Result<()> {
    let image = one_file();
    for point in 0.. {
        let mut session = ctx.session("moment", &image)?;
        let mount = session.mount_in_background(&ctx.mount_point("moment"), "fsid=moment")?;
        for _ in 0..point {
            // A round without a message ends only when nothing more can come.
            let end = std::time::Instant::now() + crate::task::soon();
            while !session
                .device
                .wait_readable(Some(Duration::from_millis(20)))?
            {
                ensure!(std::time::Instant::now() < end, "the mount hangs");
                if mount.is_done() && sys::lookups_done()? {
                    break;
                }
            }
            session.step()?;
        }
        let messages = session.log.opens.len() + session.log.reads.len();
        drop(session);
        if let Ok(mount) = mount.finish()? {
            mount.unmount().finish()??;
        }
        nothing_left().with_context(|| format!("after {point} messages"))?;
        sys::wait_for("the device to be free", crate::task::soon(), || {
            Device::open().is_ok()
        })?;
        if messages < point {
            ensure!(point > 3, "only {messages} messages");
            break;
        }
        sys::empty_cache()?;
    }
    Ok(())
}

fn kill_storm_with_checksums_loses_nothing(ctx: &Context) -> Result<()> {
    const KILLS: usize = 20;
    let mut builder = Builder::new().device("blob");
    for number in 0..48 {
        let data = pattern(number, 16 * BLOCK + usize::try_from(number)?);
        builder = builder.chunked(&format!("{number:02}"), data, 4, &[Some(1)]);
    }
    let image = builder.build();
    let mut session = ctx.session("killed", &image)?;
    let blobs = ctx.work.join("blobs");
    store_blobs(&blobs, &session.blobs)?;
    let mut kills = 0;
    let mut files_read = 0;
    for round in 0.. {
        let mount = session.mount(&ctx.mount_point("killed"), "fsid=killed")?;
        session.crash();
        let (kills_now, files_now) = storm(&session.device, &blobs, &mount, &image, KILLS - kills)
            .with_context(|| format!("round {round}, after {kills} kills"))?;
        kills += kills_now;
        files_read += files_now;
        session.unmount(mount)?;
        session.settle()?;
        if kills >= KILLS {
            break;
        }
        ensure!(round < 20, "only {kills} kills found anything in flight");
        // Everything is fetched by now: start cold again.
        let device = std::mem::replace(&mut session.device, Arc::new(Device::from(null()?)));
        drop(device);
        sys::empty_cache()?;
        session.device = ctx.bound_device()?;
    }
    ensure!(
        files_read >= image.files.len(),
        "only {files_read} files were read"
    );
    Ok(())
}

fn null() -> Result<std::os::fd::OwnedFd> {
    Ok(std::fs::File::open("/dev/null")?.into())
}

/// Reads all files from four threads while the daemon is killed. Returns kills and files.
fn storm(
    device: &Device,
    blobs: &std::path::Path,
    mount: &Mount,
    image: &Image,
    kills_wanted: usize,
) -> Result<(usize, usize)> {
    let finished = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..4)
        .map(|offset| {
            let mut files: Vec<_> = image
                .files
                .iter()
                .map(|(name, data)| (mount.file(name), data.clone()))
                .collect();
            files.rotate_left(offset * image.files.len() / 4);
            let finished = Arc::clone(&finished);
            Task::start("a reader of the storm", move || -> Result<()> {
                for (path, data) in files {
                    let seen = std::fs::read(&path).with_context(|| path.display().to_string())?;
                    ensure!(seen == data, "{} differs", path.display());
                    finished.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        })
        .collect();
    let mut kills = 0;
    let mut daemon = Actor::daemon(device, blobs, &["--restore", "--delay-ms", "3"])?;
    while kills < kills_wanted && !readers.iter().all(Task::is_done) {
        std::thread::sleep(Duration::from_millis(40 + 23 * (kills as u64 % 7)));
        daemon.kill()?;
        kills += 1;
        daemon = Actor::daemon(device, blobs, &["--restore", "--delay-ms", "3"])?;
    }
    for reader in readers {
        reader.finish_within(crate::task::soon() * 4)??;
    }
    daemon.kill()?;
    Ok((kills, finished.load(Ordering::Relaxed)))
}
