// SPDX-License-Identifier: GPL-2.0
//! Every way to complete a READ wrongly.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;

use super::read::{FSID, finish_both, holding, read_both, two_blobs};
use crate::context::{Context, expect_errno};
use crate::image::{BLOCK, Builder, pattern};
use crate::registry::{Test, test};
use crate::task::{Task, read_in_background};

pub const TESTS: &[Test] = &[
    test!(
        cread_of_an_unknown_id_is_refused_with_einval,
        "an id must name a READ"
    ),
    test!(
        cread_of_another_object_is_refused_with_einval,
        "CVE-2024-41075: an fd completes its own object's READs only"
    ),
    test!(
        cread_of_an_open_request_is_refused_with_einval,
        "CVE-2024-41075: a READ's completion does not complete an OPEN"
    ),
    test!(
        second_cread_is_refused_with_einval,
        "a READ is completed once"
    ),
    test!(
        cread_before_the_read_was_taken_does_no_harm,
        "a completion that nobody asked for wakes a reader at most"
    ),
];

fn cread_of_an_unknown_id_is_refused_with_einval(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = holding(ctx, &image)?;
    let [(a, read_a), (b, read_b)] = read_both(&mut session, &mount)?;
    let fd = &session.object(read_a.object_id)?.fd;
    for id in [read_b.msg_id + 1, 4711, u32::MAX] {
        expect_errno(
            fd.complete_read(id),
            Errno::INVAL,
            &format!("cread of {id}"),
        )?;
    }
    ensure!(!a.is_done() && !b.is_done(), "a READ ended");
    finish_both(session, mount, &image, [a, b])
}

fn cread_of_another_object_is_refused_with_einval(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = holding(ctx, &image)?;
    let [(a, read_a), (b, read_b)] = read_both(&mut session, &mount)?;
    let (fd_a, fd_b) = (
        &session.object(read_a.object_id)?.fd,
        &session.object(read_b.object_id)?.fd,
    );
    expect_errno(
        fd_a.complete_read(read_b.msg_id),
        Errno::INVAL,
        "cread of b through a",
    )?;
    expect_errno(
        fd_b.complete_read(read_a.msg_id),
        Errno::INVAL,
        "cread of a through b",
    )?;
    std::thread::sleep(Duration::from_millis(100));
    ensure!(!a.is_done() && !b.is_done(), "a READ ended");
    finish_both(session, mount, &image, [a, b])
}

fn cread_of_an_open_request_is_refused_with_einval(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = holding(ctx, &image)?;
    let other = Builder::new().plain("file", pattern(7, BLOCK)).build();
    session
        .blobs
        .extend(crate::session::blobs_of("other", &other));
    session.hold_opens = true;
    let second = session.mount_in_background(&ctx.mount_point("other"), "fsid=other")?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    let open = session.held_opens.pop().context("no OPEN")?;
    expect_errno(
        open.fd.complete_read(open.msg_id),
        Errno::INVAL,
        "cread of an OPEN",
    )?;
    let fd = &session.object_of(b"blob-a")?.1.fd;
    expect_errno(
        fd.complete_read(open.msg_id),
        Errno::INVAL,
        "cread of another's OPEN",
    )?;
    ensure!(!second.is_done(), "the OPEN ended");
    session.hold_opens = false;
    session.hold_reads = None;
    session.answer_open(open)?;
    session.pump_until("mount to return", |_| second.is_done())?;
    let second = second.finish()?.context("mount")?;
    session.check_files(&second, &other)?;
    session.unmount(second)?;
    session.unmount(mount)
}

fn second_cread_is_refused_with_einval(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = holding(ctx, &image)?;
    let [(a, read_a), (b, _)] = read_both(&mut session, &mount)?;
    session.held.remove(0);
    session.answer_read(&read_a)?;
    let again = session
        .object(read_a.object_id)?
        .fd
        .complete_read(read_a.msg_id);
    expect_errno(again, Errno::INVAL, "a second cread")?;
    finish_both(session, mount, &image, [a, b])
}

fn cread_before_the_read_was_taken_does_no_harm(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session(FSID, &image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let path = mount.file("a");
    let stat = Task::start("stat", move || std::fs::metadata(path).map(drop));
    session.pump_until("a stat", |_| stat.is_done())?;
    stat.finish()??;
    let (object, next) = {
        let next = session.log.reads.last().context("no READ yet")?.msg_id + 1;
        (session.object_of(b"blob-a")?.0, next)
    };
    let reader = read_in_background(&mount.file("a"));
    ensure!(
        session.device.wait_readable(Some(crate::task::soon()))?,
        "no READ"
    );
    // Data first, so that completing is legitimate in every respect but the order.
    session.fill(object, 0, 2 * BLOCK as u64)?;
    match session.object(object)?.fd.complete_read(next) {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => anyhow::bail!("cread of a READ that was not taken: {errno:?}"),
    }
    session.pump_until("the reader to finish", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image.files["a"], "wrong content");
    session.unmount(mount)
}
