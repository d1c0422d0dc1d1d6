// SPDX-License-Identifier: GPL-2.0
//! `linger` and `attach`: a cache that waits for its next daemon, although nobody has the device.

mod commands;
mod expiry;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Device, Errno};

use super::gates;
use super::kept::half_the_same_is_refused;
use super::restore::two_blobs;
use crate::actor::{Actor, store_blobs};
use crate::context::{Context, TAG, expect_errno};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::share::drop_caches;
use crate::sys;
use crate::task::{ReadTask, Task, read_in_background, soon};

/// Of the cache that waits.
pub const TESTS: &[Test] = &[
    test!(
        linger_hides_kills_of_daemons_although_nobody_has_the_device,
        "unmodified daemons fail over without a holder"
    )
    .limit(240)
    .c_fails(NO_LINGER),
    test!(
        linger_hands_what_is_in_flight_to_the_one_who_attaches,
        "readers do not notice that the device was closed"
    )
    .c_fails(NO_LINGER),
    test!(
        linger_lets_a_bind_of_the_same_directory_attach,
        "a daemon that starts from scratch need not know"
    )
    .c_fails(NO_LINGER),
    test!(
        linger_wakes_a_poller_that_came_before_the_attach,
        "nobody sleeps over what is there to be read"
    )
    .c_fails(NO_LINGER),
    test!(
        linger_is_nothing_to_one_who_only_looks,
        "who opens the device and closes it takes nothing along"
    )
    .c_fails(NO_LINGER),
    test!(
        linger_does_not_leave_objects_with_fds_that_others_have,
        "a child that has inherited fds does not keep the next daemon from its work"
    )
    .c_fails(NO_LINGER),
    test!(
        linger_takes_no_answers_by_fds_that_others_have,
        "what is left of a daemon does not complete what the next one has been handed"
    )
    .c_fails(NO_LINGER),
    test!(
        linger_lets_images_come_and_go,
        "mounting waits for the next daemon, and unmounting does not"
    )
    .limit(60)
    .c_fails(NO_LINGER),
    test!(
        linger_keeps_the_module,
        "rmmod is refused while a cache waits"
    )
    .c_fails(NO_LINGER),
];

/// All of them.
pub const ALL: &[&[Test]] = &[TESTS, expiry::TESTS, commands::TESTS];

const NO_LINGER: &str = "there is no `linger`";
const FSID: &str = "linger";
/// Longer than any of these tests.
const LONG: u32 = 600;

fn options() -> String {
    format!("fsid={FSID}")
}

/// An image of two blobs, of which `a` is read, served by a daemon for whose next the cache waits
/// for so many seconds.
fn served(ctx: &Context, image: &Image, seconds: u32) -> Result<(Session, Mount)> {
    let mut session = ctx.session(FSID, image)?;
    session.device.set_linger(seconds)?;
    let mount = session.mount(&ctx.mount_point(FSID), options())?;
    let data = session.read_file(&mount.file("a"))?;
    ensure!(data == image.files["a"], "wrong content");
    session.look_up(&mount.file("b"))?;
    Ok((session, mount))
}

/// The same, with a READ of `b` in the daemon's hands.
fn in_flight(ctx: &Context, image: &Image, seconds: u32) -> Result<(Session, Mount, ReadTask)> {
    let (mut session, mount) = served(ctx, image, seconds)?;
    session.hold_data(FSID, image);
    let reader = read_in_background(&mount.file("b"));
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    Ok((session, mount, reader))
}

/// The next daemon, which attaches.
fn attached(ctx: &Context, image: &Image) -> Result<Session> {
    let device = ctx.device()?;
    device.attach(TAG).context("attaching")?;
    Ok(Session::new(Arc::new(device), blobs_of(FSID, image)))
}

/// The reader of `b` gets its data from this daemon.
fn is_served(session: &mut Session, reader: ReadTask, image: &Image) -> Result<()> {
    session.pump_until("the read to return", |_| reader.is_done())?;
    let data = reader.finish()?.context("a reader in between")?;
    ensure!(data == image.files["b"], "wrong content");
    Ok(())
}

/// Unmounts, and leaves no cache behind.
fn end(mut session: Session, mount: Mount) -> Result<()> {
    session.unmount(mount)?;
    session.settle()?;
    session.device.set_linger(0)?;
    drop(session);
    sys::wait_until_unused(soon())
}

fn linger_hides_kills_of_daemons_although_nobody_has_the_device(ctx: &Context) -> Result<()> {
    const READERS: u32 = 8;
    const EACH: u32 = 16;
    let mut builder = Builder::new().device("blob");
    for number in 0..READERS * EACH {
        let data = pattern(number, 4 * BLOCK);
        builder = builder.chunked(&format!("file{number}"), data, 4, &[Some(1)]);
    }
    let image = Arc::new(builder.build());
    let dir = ctx.work.join("blobs");
    store_blobs(&dir, &blobs_of(FSID, &image))?;
    // For daemons that nobody changes.
    gates::set("linger", "600")?;
    let slow = ["--delay-ms", "20"];
    let mut daemon = Actor::lone_daemon(&dir, &slow)?;
    let target = ctx.mount_point(FSID);
    std::fs::create_dir_all(&target)?;
    sys::mount_erofs(&target, options().as_bytes())?;
    let mount = Arc::new(Mount::at(target));
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let (mount, image) = (Arc::clone(&mount), Arc::clone(&image));
            Task::start(format!("reader {reader}"), move || {
                for number in (0..EACH).map(|file| file * READERS + reader) {
                    let name = format!("file{number}");
                    let data = std::fs::read(mount.file(&name));
                    let data = data.with_context(|| format!("reading {name}"))?;
                    ensure!(data == image.files[&name], "{name} has wrong content");
                }
                Ok(())
            })
        })
        .collect();
    let mut kills = 0u64;
    while !readers.iter().all(Task::is_done) {
        // Sometimes before it has read anything.
        std::thread::sleep(Duration::from_millis(kills % 4 * 60));
        daemon.kill()?;
        kills += 1;
        daemon = Actor::lone_daemon(&dir, &slow).with_context(|| format!("after kill {kills}"))?;
    }
    for reader in readers {
        reader.finish()??;
    }
    ensure!(kills > 5, "it was killed {kills} times only");
    Arc::into_inner(mount)
        .context("a mount in use")?
        .unmount()
        .finish()??;
    gates::set("linger", "0")?;
    daemon.kill()?;
    sys::wait_until_unused(soon())
}

fn linger_hands_what_is_in_flight_to_the_one_who_attaches(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (session, mount, reader) = in_flight(ctx, &image, LONG)?;
    drop(session);
    // What comes meanwhile waits, too; and what is cached is read.
    let second = read_in_background(&mount.file("b"));
    drop_caches()?;
    let data = read_in_background(&mount.file("a")).finish()??;
    ensure!(data == image.files["a"], "wrong content");
    std::thread::sleep(Duration::from_millis(200));
    ensure!(
        !reader.is_done() && !second.is_done(),
        "a reader did not wait for the next daemon"
    );
    let mut session = attached(ctx, &image)?;
    is_served(&mut session, reader, &image)?;
    is_served(&mut session, second, &image)?;
    // It lingers as before, over and over.
    for _ in 0..3 {
        drop(session);
        session = attached(ctx, &image)?;
        session.check_files(&mount, &image)?;
    }
    end(session, mount)
}

fn linger_lets_a_bind_of_the_same_directory_attach(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (session, mount, reader) = in_flight(ctx, &image, LONG)?;
    drop(session);
    half_the_same_is_refused(ctx)?;
    let mut session = ctx.session(FSID, &image)?;
    is_served(&mut session, reader, &image)?;
    // This one has not said that it lingers.
    session.hold_data(FSID, &image);
    end(session, mount)
}

fn linger_wakes_a_poller_that_came_before_the_attach(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    // The OPEN of a mount is there for whoever comes: the takeover itself makes nothing ready, as
    // it would with a READ that was handed out, and so wakes nobody.
    let waiting = mounting_without_a_daemon(ctx, &image)?;
    let device = Arc::new(ctx.device()?);
    let poller = {
        let device = Arc::clone(&device);
        // Longer than is waited for it: when its time is over, poll() looks once more.
        Task::start("polling", move || device.wait_readable(Some(soon() * 4)))
    };
    sys::wait_for("a poller to sleep", soon(), || poller.sleeps())?;
    device.attach(TAG)?;
    ensure!(
        poller.finish_within(soon())??,
        "the poller found nothing to read"
    );
    let session = Session::new(device, blobs_of(FSID, &image));
    is_mounted(session, waiting, &image)
}

fn linger_is_nothing_to_one_who_only_looks(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (session, mount, reader) = in_flight(ctx, &image, LONG)?;
    drop(session);
    for _ in 0..3 {
        let device = ctx.device()?;
        ensure!(
            device.read_message(&mut [0; 1024])?.is_none(),
            "it was handed a message"
        );
        ensure!(
            !device.wait_readable(Some(Duration::from_millis(50)))?,
            "the device polls as readable"
        );
        expect_errno(device.attach("another"), Errno::NOENT, "another cache")?;
        // One at a time has the device, as ever.
        expect_errno(Device::open().map(drop), Errno::BUSY, "a second open")?;
    }
    ensure!(!reader.is_done(), "the reader did not wait");
    let mut session = attached(ctx, &image)?;
    is_served(&mut session, reader, &image)?;
    end(session, mount)
}

fn linger_does_not_leave_objects_with_fds_that_others_have(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = in_flight(ctx, &image, LONG)?;
    // An OPEN that is not answered, either.
    session.hold_opens = true;
    let other = session.mount_in_background(&ctx.mount_point("other"), "fsid=other")?;
    session.pump_until("an OPEN", |session| !session.held_opens.is_empty())?;
    let left = (
        std::mem::take(&mut session.objects),
        std::mem::take(&mut session.held_opens),
    );
    drop(session);
    let mut session = attached(ctx, &image)?;
    is_served(&mut session, reader, &image)?;
    session.pump_until("the mount to fail", |_| other.is_done())?;
    ensure!(other.finish()?.is_err(), "there is no such image");
    let opens: Vec<_> = session.log.opens.iter().map(|(_, _, key)| key).collect();
    ensure!(
        opens.contains(&&b"blob-b".to_vec()) && opens.contains(&&b"other".to_vec()),
        "OPENs: {opens:?}"
    );
    // It is nothing to the new fds when the old ones go.
    session.log = Default::default();
    drop(left);
    drop_caches()?;
    session.check_files(&mount, &image)?;
    let key = |open: &(u32, u32, Vec<u8>)| open.2 == b"blob-b";
    ensure!(
        !session.log.opens.iter().any(key),
        "blob-b was opened again"
    );
    end(session, mount)
}

fn linger_takes_no_answers_by_fds_that_others_have(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = in_flight(ctx, &image, LONG)?;
    let left = std::mem::take(&mut session.objects);
    let before = session.held[0];
    drop(session);
    let mut session = attached(ctx, &image)?;
    session.hold_data(FSID, &image);
    session.pump_until("the READ again", |session| !session.held.is_empty())?;
    let again = session.held[0];
    ensure!(
        again.msg_id == before.msg_id && again.object_id != before.object_id,
        "{before:?} became {again:?}"
    );
    let old = &left.get(&before.object_id).context("no old fd")?.fd;
    let answer = old.complete_read(before.msg_id);
    expect_errno(answer, Errno::INVAL, "an answer by an old fd")?;
    ensure!(!reader.is_done(), "the reader did not wait for the daemon");
    session.hold_reads = None;
    session.answer_held_backwards()?;
    ensure!(session.log.late == 0, "the answer of the daemon was late");
    is_served(&mut session, reader, &image)?;
    drop(left);
    end(session, mount)
}

fn linger_lets_images_come_and_go(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let waiting = mounting_without_a_daemon(ctx, &image)?;
    is_mounted(attached(ctx, &image)?, waiting, &image)
}

/// A task that mounts an image of a cache that lingers, and waits for its daemon.
fn mounting_without_a_daemon(ctx: &Context, image: &Image) -> Result<Task<Result<Mount>>> {
    let (session, mount) = served(ctx, image, LONG)?;
    drop(session);
    mount.unmount().finish()??;
    sys::wait_for("all cookies and volumes to go", soon(), sys::nothing_cached)?;
    // With its last image a cache that is kept would go.
    let target = ctx.mount_point(FSID);
    let waiting = Task::start("mounting", move || {
        sys::mount_erofs(&target, options().as_bytes())?;
        Ok(Mount::at(target))
    });
    std::thread::sleep(Duration::from_millis(300));
    ensure!(!waiting.is_done(), "the mount did not wait for a daemon");
    Ok(waiting)
}

/// The next daemon has the mount end well.
fn is_mounted(mut session: Session, waiting: Task<Result<Mount>>, image: &Image) -> Result<()> {
    session.pump_until("mount to return", |_| waiting.is_done())?;
    let mount = waiting.finish()?.context("the mount")?;
    session.check_files(&mount, image)?;
    end(session, mount)
}

fn linger_keeps_the_module(ctx: &Context) -> Result<()> {
    let device = ctx.bound_device()?;
    device.set_linger(LONG)?;
    drop(device);
    expect_errno(sys::remove_module(), Errno::AGAIN, "removing the module")?;
    let device = ctx.device()?;
    device.attach(TAG)?;
    device.set_linger(0)?;
    drop(device);
    sys::remove_unused_module(soon())?;
    ctx.load_own_module()
}
