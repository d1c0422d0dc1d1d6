// SPDX-License-Identifier: GPL-2.0
//! `timeout`: nobody waits for ever for a daemon that does nothing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;

use crate::context::{Context, expect_errno, expect_io_errno, expect_no_cache};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::kmsg::KernelLog;
use crate::registry::{Test, test};
use crate::task::read_in_background;

pub const TESTS: &[Test] = &[
    test!(
        reader_of_a_daemon_that_does_not_answer_is_told_in_time,
        "a stuck daemon is an error, and not a hang"
    )
    .limit(60)
    .c_fails(NO_TIMEOUT),
    test!(
        mount_that_nobody_answers_fails_in_time,
        "a mount does not hang over a stuck daemon"
    )
    .limit(60)
    .c_fails(NO_TIMEOUT),
    test!(
        reader_with_time_left_outlives_a_reopening_that_nobody_answers,
        "a daemon that is slow once does not fail who came late"
    )
    .limit(60)
    .c_fails(NO_TIMEOUT),
    test!(
        unmount_does_not_wait_for_a_stuck_daemon_that_learns_of_it_later,
        "a mount can be taken down, and the daemon keeps no fd of it"
    )
    .limit(60)
    .c_fails(NO_TIMEOUT),
    test!(
        timeout_is_up_to_a_day_and_for_the_on_demand_mode,
        "a timeout is what was meant, or is refused"
    )
    .c_fails(NO_TIMEOUT),
];

const NO_TIMEOUT: &str = "there is no `timeout`";
const FSID: &str = "timeout";

fn image() -> Image {
    Builder::new()
        .device("blob")
        .chunked("file", pattern(1, 4 * BLOCK), 4, &[Some(1)])
        .build()
}

fn reader_of_a_daemon_that_does_not_answer_is_told_in_time(ctx: &Context) -> Result<()> {
    let image = image();
    let mut session = ctx.session(FSID, &image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.look_up(&mount.file("file"))?;
    session.hold_data(FSID, &image);
    session.device.set_timeout(2)?;
    let begun = Instant::now();
    let reader = read_in_background(&mount.file("file"));
    session.pump_until("the read to return", |_| reader.is_done())?;
    expect_io_errno(reader.finish()?, Errno::TIMEDOUT, "the read")?;
    let took = begun.elapsed();
    ensure!(took >= Duration::from_secs(2), "it took only {took:?}");
    // The answers come too late.
    let fd = &session.object_of(b"blob")?.1.fd;
    ensure!(!session.held.is_empty(), "there was no READ");
    for read in &session.held {
        expect_errno(fd.complete_read(read.msg_id), Errno::INVAL, "a late cread")?;
        let late = session.device.cfail(read.msg_id, Errno::IO);
        expect_errno(late, Errno::INVAL, "a late cfail")?;
    }
    session.held.clear();
    session.hold_reads = None;
    session.device.set_timeout(0)?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn mount_that_nobody_answers_fails_in_time(ctx: &Context) -> Result<()> {
    let image = image();
    let mut session = ctx.session(FSID, &image)?;
    session.device.set_timeout(1)?;
    let options = format!("fsid={FSID}");
    // Not read at all.
    let mount = session.mount_in_background(&ctx.mount_point(FSID), &options)?;
    let result = mount.finish()?;
    ensure!(
        matches!(result, Err(Errno::TIMEDOUT)) || expect_no_cache(result, "mount").is_ok(),
        "the mount succeeded"
    );
    // Read, and not answered in time.
    session.hold_opens = true;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), &options)?;
    session.pump_until("mount to return", |_| mount.is_done())?;
    ensure!(mount.finish()?.is_err(), "the mount succeeded");
    for open in session.held_opens.drain(..) {
        let late = session.device.copen(open.msg_id, Ok(4096));
        expect_errno(late, Errno::INVAL, "a late copen")?;
    }
    session.hold_opens = false;
    session.device.set_timeout(0)?;
    let mount = session.mount(&ctx.mount_point(FSID), &options)?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn reader_with_time_left_outlives_a_reopening_that_nobody_answers(ctx: &Context) -> Result<()> {
    let image = Builder::new()
        .device("blob")
        .chunked("early", pattern(1, 4 * BLOCK), 4, &[Some(1)])
        .chunked("late", pattern(2, 4 * BLOCK), 4, &[Some(1)])
        .build();
    let mut session = ctx.session(FSID, &image)?;
    session.device.set_timeout(8)?;
    // A refusal would be the last.
    super::gates::set("reopen_tries", "1")?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    for name in ["early", "late"] {
        session.look_up(&mount.file(name))?;
    }
    let blob = session.object_of(b"blob")?.0;
    session.objects.remove(&blob);
    session.hold_opens = true;
    let mut log = KernelLog::from_now()?;
    let early = read_in_background(&mount.file("early"));
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    session.pump_for(Duration::from_secs(4))?;
    let begun = Instant::now();
    let late = read_in_background(&mount.file("late"));
    session.pump_until("another OPEN", |session| session.held_opens.len() > 1)?;
    let took = begun.elapsed();
    ensure!(
        took < Duration::from_secs(8) && !late.is_done(),
        "the second OPEN came after {took:?}, too late for the late reader"
    );
    session.hold_opens = false;
    let overdue = session.held_opens.remove(0);
    let answer = session.device.copen(overdue.msg_id, Ok(4096));
    expect_errno(answer, Errno::INVAL, "the copen of the first")?;
    // Or its fd would keep the object.
    drop(overdue);
    let open = session.held_opens.remove(0);
    session.answer_open(open)?;
    session.pump_until("both reads to return", |_| {
        early.is_done() && late.is_done()
    })?;
    ensure!(late.finish()?? == image.files["late"], "wrong content");
    // What read ahead was told; the reader itself may have begun in time for the second OPEN.
    drop(early.finish()?);
    let lines = log.lines()?;
    ensure!(
        !lines.iter().any(|line| line.contains("does not open")),
        "READs that had time left were failed: {lines:?}"
    );
    session.device.set_timeout(0)?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn unmount_does_not_wait_for_a_stuck_daemon_that_learns_of_it_later(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.device.set_timeout(1)?;
    session.log = Default::default();
    // Nobody reads the device.
    mount.unmount().finish()??;
    let objects: Vec<u32> = session.objects.keys().copied().collect();
    std::thread::sleep(Duration::from_secs(4));
    session.pump_until("the CLOSEs", |session| {
        objects.iter().all(|id| session.log.closes.contains(id))
    })?;
    session.device.set_timeout(0)?;
    session.settle().context("once the daemon is back")
}

fn timeout_is_up_to_a_day_and_for_the_on_demand_mode(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    for argument in ["0", "1", "86400", "0x10"] {
        let command = format!("timeout {argument}");
        device.command(&command).context(command)?;
    }
    for argument in ["", "-1", "86401", "x", "5s", "99999999999999999999"] {
        let command = format!("timeout {argument}");
        expect_errno(device.command(&command), Errno::INVAL, &command)?;
    }
    drop(device);
    let device = ctx.bound_device()?;
    device.set_timeout(60).context("after bind")?;
    expect_errno(device.command("timeout"), Errno::INVAL, "timeout alone")
}
