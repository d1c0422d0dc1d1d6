// SPDX-License-Identifier: GPL-2.0
//! Mounts that wait for the answer to an OPEN: they can be killed, and hold up nobody else. With C
//! they wait in fscache, where no signal is looked at, and a worker waits for each.

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;

use crate::actor::Actor;
use crate::context::{Context, expect_no_cache};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::sys;
use crate::task::{read_in_background, soon};

/// Why C has no part in it.
const WAITS: &str = "a mount that waits for an OPEN cannot be killed";

pub const TESTS: &[Test] = &[
    test!(
        mount_whose_open_is_not_read_can_be_killed,
        "nobody has to wait for a daemon that is stopped"
    )
    .c_skips(WAITS),
    test!(
        mount_whose_open_is_not_answered_can_be_killed,
        "nobody has to wait for a daemon that hangs"
    )
    .c_skips(WAITS),
    test!(
        mount_of_a_cached_image_can_be_killed,
        "what is cached is not lost with a mount that is killed"
    )
    .c_skips(WAITS),
    test!(
        reader_goes_on_with_another_that_is_killed,
        "who waits for the same object waits on"
    )
    .c_skips(WAITS),
    test!(
        six_hundred_unanswered_mounts_hold_up_no_other,
        "a daemon that is slow with some images is not slow with all"
    )
    .c_skips("256 look-ups that wait hold up all others")
    .limit(120),
    test!(
        mount_of_a_refused_object_fails_and_the_next_one_is_asked_for,
        "a refusal is of this mount only"
    ),
    test!(
        what_the_daemon_answers_late_is_checked_all_the_same,
        "the size in the answer decides whether a cached file is current"
    ),
];

fn image() -> Image {
    Builder::new().plain("file", pattern(1, 3 * BLOCK)).build()
}

/// A process that mounts, and whose OPEN waits for the daemon.
fn mounter(ctx: &Context, fsid: &str) -> Result<Actor> {
    let point = ctx.mount_point(fsid);
    std::fs::create_dir_all(&point)?;
    let mut mounter = Actor::mounter(&point, &format!("fsid={fsid}"))?;
    sys::wait_for("the mount to wait", soon(), || mounter.sleeps())?;
    ensure!(!mounter.ended()?, "the mount did not wait");
    Ok(mounter)
}

/// Kills a process, which is to be gone within a second.
fn kill_at_once(mut mounter: Actor) -> Result<()> {
    mounter.signal_kill()?;
    let ended = sys::wait_for("the killed mount to end", soon() / 10, || {
        mounter.ended().unwrap_or(false)
    });
    if ended.is_err() {
        // Or this would wait for it, and it for the daemon, which is here.
        std::mem::forget(mounter);
    }
    ended
}

/// Mounts, reads all, and unmounts.
fn use_once(ctx: &Context, session: &mut Session, fsid: &str, image: &Image) -> Result<()> {
    let mount = session.mount(&ctx.mount_point(fsid), format!("fsid={fsid}"))?;
    session.check_files(&mount, image)?;
    session.unmount(mount)?;
    session.settle()
}

fn mount_whose_open_is_not_read_can_be_killed(ctx: &Context) -> Result<()> {
    let image = image();
    let mut session = ctx.session("kill", &image)?;
    // Nobody reads from the device.
    let mounter = mounter(ctx, "kill")?;
    ensure!(session.device.wait_readable(Some(soon()))?, "no OPEN");
    let objects = std::fs::read_to_string("/sys/kernel/debug/cachefiles/objects")?;
    ensure!(objects.contains(" looking-up 0 "), "not shown: {objects}");
    kill_at_once(mounter)?;
    sys::wait_for("all cookies and volumes to go", soon(), sys::nothing_cached)?;
    ensure!(
        !session
            .device
            .wait_readable(Some(std::time::Duration::ZERO))?,
        "the OPEN of a mount that is gone"
    );
    use_once(ctx, &mut session, "kill", &image)
}

fn mount_whose_open_is_not_answered_can_be_killed(ctx: &Context) -> Result<()> {
    let image = image();
    let mut session = ctx.session("kill", &image)?;
    session.hold_opens = true;
    let mounter = mounter(ctx, "kill")?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    kill_at_once(mounter)?;
    // The daemon has an fd: it is told that the object goes, and its answer comes too late.
    session.pump_until("the CLOSE", |session| !session.log.closes.is_empty())?;
    let open = session.held_opens.pop().context("no OPEN")?;
    let late = session.device.copen(open.msg_id, Ok(12345));
    ensure!(late == Err(Errno::INVAL), "a late answer: {late:?}");
    drop(open);
    session.settle()?;
    session.hold_opens = false;
    use_once(ctx, &mut session, "kill", &image)
}

fn mount_of_a_cached_image_can_be_killed(ctx: &Context) -> Result<()> {
    let image = image();
    let mut session = ctx.session("kill", &image)?;
    use_once(ctx, &mut session, "kill", &image)?;
    let mounter = mounter(ctx, "kill")?;
    kill_at_once(mounter)?;
    sys::wait_for("all cookies and volumes to go", soon(), sys::nothing_cached)?;
    // The file is there, in use by nobody, and complete.
    let reads = session.log.reads.len();
    use_once(ctx, &mut session, "kill", &image)?;
    ensure!(
        session.log.reads.len() == reads,
        "what was cached is fetched again"
    );
    Ok(())
}

fn reader_goes_on_with_another_that_is_killed(ctx: &Context) -> Result<()> {
    let data = pattern(1, 2 * BLOCK);
    let image = Builder::new()
        .device("shared")
        .chunked("file", data.clone(), 2, &[Some(1)])
        .build();
    let mut session = ctx.session("one", &image)?;
    session.blobs.extend(blobs_of("two", &image));
    // Mounts do not wait for devices: that of the blob that both share is being looked up.
    session.hold_opens = true;
    let mut mounts = Vec::new();
    for fsid in ["one", "two"] {
        let options = format!("domain_id=domain,fsid={fsid}");
        let mount = session.mount_in_background(&ctx.mount_point(fsid), options)?;
        let is_primary = |open: &cachefiles_protocol::Open| open.cookie_key == fsid.as_bytes();
        session.pump_until("the OPEN of the image", |session| {
            session.held_opens.iter().any(is_primary)
        })?;
        let at = session.held_opens.iter().position(is_primary);
        let open = session.held_opens.remove(at.context("no OPEN")?);
        session.answer_open(open)?;
        session.pump_until("mount to return", |_| mount.is_done())?;
        mounts.push(mount.finish()?.context("mount")?);
    }
    session.pump_until("the OPEN of the shared blob", |session| {
        session.held_opens.len() == 1
    })?;
    let victim = Actor::reader(&mounts[0].file("file"))?;
    let other = read_in_background(&mounts[1].file("file"));
    session.pump_until("both to wait", |_| {
        victim.waits_for(&mounts[0].file("file")) && other.sleeps()
    })?;
    victim.kill()?;
    session.hold_opens = false;
    let open = session.held_opens.pop().context("no OPEN")?;
    session.answer_open(open)?;
    session.pump_until("the other to read", |_| other.is_done())?;
    ensure!(other.finish()?? == data, "wrong content");
    for mount in mounts {
        session.unmount(mount)?;
    }
    session.settle()
}

fn six_hundred_unanswered_mounts_hold_up_no_other(ctx: &Context) -> Result<()> {
    const MOUNTS: usize = 600;
    let image = image();
    let mut session = ctx.session("cached", &image)?;
    use_once(ctx, &mut session, "cached", &image)?;
    session.hold_opens = true;
    let mut waiting = Vec::new();
    for number in 0..MOUNTS {
        let fsid = format!("slow{number}");
        let point = ctx.mount_point(&fsid);
        waiting.push(session.mount_in_background(&point, format!("fsid={fsid}"))?);
    }
    session.pump_until("all OPENs", |session| session.held_opens.len() == MOUNTS)?;
    session.hold_opens = false;
    let mount = session
        .try_mount(&ctx.mount_point("cached"), b"fsid=cached")?
        .context("mount")?;
    session.check_files(&mount, &image)?;
    ensure!(
        !waiting.iter().any(|mount| mount.is_done()),
        "a mount without an answer has returned"
    );
    // No blob of theirs is known: all are refused.
    for open in std::mem::take(&mut session.held_opens) {
        session.answer_open(open)?;
    }
    for mount in waiting {
        session.pump_until("a mount to return", |_| mount.is_done())?;
        expect_no_cache(mount.finish()?.map(Mount::unmount), "mount")?;
    }
    session.unmount(mount)?;
    session.settle()
}

fn mount_of_a_refused_object_fails_and_the_next_one_is_asked_for(ctx: &Context) -> Result<()> {
    let image = image();
    let mut session = ctx.session("refused", &image)?;
    let blobs = std::mem::take(&mut session.blobs);
    let point = ctx.mount_point("refused");
    let refused = session.try_mount(&point, b"fsid=refused")?;
    expect_no_cache(refused.map(Mount::unmount), "mount")?;
    ensure!(
        session.log.opens.len() == 1,
        "{} OPENs for one refusal",
        session.log.opens.len()
    );
    session.settle()?;
    session.blobs = blobs;
    use_once(ctx, &mut session, "refused", &image)
}

fn what_the_daemon_answers_late_is_checked_all_the_same(ctx: &Context) -> Result<()> {
    let image = image();
    let mut session = ctx.session("late", &image)?;
    use_once(ctx, &mut session, "late", &image)?;
    let reads = session.log.reads.len();
    // A page more than when it was cached: that is another blob, of which nothing is here.
    let grown = session.blobs[&b"late"[..]].len() as u64 + BLOCK as u64;
    session.sizes.insert(b"late".to_vec(), grown);
    session.hold_opens = true;
    let mount = session.mount_in_background(&ctx.mount_point("late"), "fsid=late")?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    ensure!(!mount.is_done(), "the mount did not wait");
    session.hold_opens = false;
    let open = session.held_opens.pop().context("no OPEN")?;
    session.answer_open(open)?;
    session.pump_until("mount to return", |_| mount.is_done())?;
    let mount = mount.finish()?.context("mount")?;
    session.check_files(&mount, &image)?;
    ensure!(
        session.log.reads.len() > reads,
        "a file of another size was taken for current"
    );
    session.unmount(mount)?;
    session.settle()
}
