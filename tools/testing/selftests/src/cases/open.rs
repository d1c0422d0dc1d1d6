// SPDX-License-Identifier: GPL-2.0
//! OPEN and its answer, `copen`: the message, and every way to answer it wrongly.

use std::collections::HashSet;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Errno, Open};
use rustix::process::getpid;

use crate::context::{Context, expect_errno, expect_no_cache};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::{MountTask, Session, blobs_of};

pub const TESTS: &[Test] = &[
    test!(
        open_carries_the_keys_and_a_write_only_fd,
        "the layout of OPEN"
    ),
    test!(
        message_and_object_ids_are_never_used_again_soon,
        "CVE-2024-41050: a stale id never names something new"
    ),
    test!(
        malformed_copen_is_refused_and_the_request_waits_on,
        "a daemon's typo is not the end of an OPEN"
    ),
    test!(
        copen_of_an_unknown_id_is_refused_with_einval,
        "an id must name an OPEN"
    ),
    test!(
        copen_of_a_read_request_is_refused_with_einval,
        "CVE-2024-41075: an OPEN's answer does not complete a READ"
    ),
    test!(
        copen_before_the_open_was_read_is_refused_with_einval,
        "CVE-2024-40899: an id cannot be guessed"
    ),
    test!(
        second_copen_is_refused_with_einval,
        "an OPEN is answered once"
    ),
    test!(
        copen_with_a_size_that_does_not_parse_fails_the_open,
        "a bad size never becomes an object"
    ),
    test!(
        copen_with_a_negative_size_fails_the_open,
        "a daemon can refuse an object"
    ),
    test!(
        copen_below_the_errnos_is_refused_and_fails_the_open,
        "what is no errno is not passed on as one"
    ),
    test!(
        copen_after_the_fd_was_closed_fails_the_open,
        "CVE-2024-41074: an object without an fd could never be served"
    ),
    test!(
        open_fd_closed_and_never_answered_can_be_answered_late,
        "closing the fd loses no request"
    ),
    test!(
        absurd_sizes_do_not_hurt,
        "any size that fits the number is survived"
    ),
    test!(
        closed_device_fails_a_delivered_open,
        "CVE-2024-40900, CVE-2024-40935: an opener does not wait for a daemon that is gone"
    ),
];

fn one_file() -> Image {
    Builder::new().plain("file", pattern(1, BLOCK)).build()
}

/// A session that holds the OPEN of a mount under way.
fn held_open(ctx: &Context, fsid: &str) -> Result<(Session, MountTask, Open)> {
    let mut session = ctx.session(fsid, &one_file())?;
    session.hold_opens = true;
    let mount = session.mount_in_background(&ctx.mount_point(fsid), format!("fsid={fsid}"))?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    let open = session.held_opens.pop().context("no OPEN")?;
    session.hold_opens = false;
    Ok((session, mount, open))
}

/// Lets the mount go on; it must succeed.
fn succeed(mut session: Session, mount: MountTask) -> Result<()> {
    session.pump_until("mount to return", |_| mount.is_done())?;
    let mount = mount.finish()?.context("mount")?;
    session.check_files(&mount, &one_file())?;
    session.unmount(mount)?;
    session.settle()
}

/// The mount must fail. What was `held` of it
/// until now is let go, for an open fd keeps its object.
fn fail(mut session: Session, mount: MountTask, held: impl Sized) -> Result<()> {
    session.pump_until("mount to return", |_| mount.is_done())?;
    expect_no_cache(mount.finish()?, "mount")?;
    drop(held);
    session.settle()
}

fn open_carries_the_keys_and_a_write_only_fd(ctx: &Context) -> Result<()> {
    let session = ctx.session("layout", &one_file())?;
    let mount = session.mount_in_background(&ctx.mount_point("layout"), "fsid=layout")?;
    ensure!(
        session.device.wait_readable(Some(crate::task::soon()))?,
        "no OPEN"
    );
    let mut bytes = [0xee; 1024];
    let length = rustix::io::read(&*session.device, &mut bytes)?;
    let bytes = &bytes[..length];
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
    ensure!(word(4) == 0, "opcode {}", word(4));
    ensure!(
        word(8) as usize == length,
        "length {} of {length} bytes",
        word(8)
    );
    ensure!(word(12) == 1, "the first object id is {}", word(12));
    ensure!(
        word(16) == 13,
        "size of the volume key with its NUL: {}",
        word(16)
    );
    ensure!(word(20) == 6, "size of the cookie key: {}", word(20));
    ensure!(word(28) == 0, "flags {}", word(28));
    ensure!(
        &bytes[32..] == b"erofs,layout\0layout",
        "keys {:?}",
        &bytes[32..]
    );
    let fd = i32::from_ne_bytes(word(24).to_ne_bytes());
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).context("the fd")?;
    ensure!(
        link.to_str() == Some("anon_inode:[cachefiles]"),
        "the fd is {link:?}"
    );
    let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", getpid().as_raw_nonzero()))?;
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .context("no flags")?;
    let flags = u32::from_str_radix(flags.trim(), 8)?;
    ensure!(flags & 3 == 1, "the fd is not write-only: {flags:o}");
    session
        .device
        .command(&format!("copen {},-5", word(0)))
        .context("copen")?;
    fail(session, mount, crate::raw::adopt(fd))?;
    Ok(())
}

fn message_and_object_ids_are_never_used_again_soon(ctx: &Context) -> Result<()> {
    let mut session = ctx.session("ids", &one_file())?;
    let mut messages = HashSet::new();
    let mut objects = Vec::new();
    let mut last = None;
    for _ in 0..3 {
        let mount = session.mount(&ctx.mount_point("ids"), "fsid=ids")?;
        session.check_files(&mount, &one_file())?;
        session.unmount(mount)?;
        session.settle()?;
        let log = std::mem::take(&mut session.log);
        ensure!(log.opens.len() == 1, "OPENs: {:?}", log.opens);
        let (open, object, _) = log.opens[0].clone();
        ensure!(
            log.closes == [object],
            "CLOSE {:?} for object {object}",
            log.closes
        );
        for id in std::iter::once(open).chain(log.reads.iter().map(|read| read.msg_id)) {
            ensure!(messages.insert(id), "message id {id} was used twice");
            ensure!(last.is_none_or(|last| id > last), "id {id} after {last:?}");
            last = Some(id);
        }
        ensure!(
            log.reads.iter().all(|read| read.object_id == object),
            "READs: {:?}",
            log.reads
        );
        objects.push(object);
    }
    ensure!(objects == [1, 2, 3], "object ids {objects:?}");
    Ok(())
}

fn malformed_copen_is_refused_and_the_request_waits_on(ctx: &Context) -> Result<()> {
    let (mut session, mount, open) = held_open(ctx, "malformed")?;
    let id = open.msg_id;
    for command in [
        "copen".to_owned(),
        format!("copen {id}"),
        format!("copen ,{}", BLOCK),
        format!("copen x{id},4096"),
        format!("copen {id}x,4096"),
        format!("copen {id} ,4096"),
        format!("copen -1,{}", BLOCK),
    ] {
        expect_errno(session.device.command(&command), Errno::INVAL, &command)?;
    }
    expect_errno(
        session.device.command("copen 99999999999999999999,1"),
        Errno::RANGE,
        "an id of more than 64 bits",
    )?;
    ensure!(!mount.is_done(), "a malformed copen ended the OPEN");
    session.answer_open(open)?;
    succeed(session, mount)
}

fn copen_of_an_unknown_id_is_refused_with_einval(ctx: &Context) -> Result<()> {
    let (mut session, mount, open) = held_open(ctx, "unknown")?;
    for id in [
        u64::from(open.msg_id) + 1,
        4711,
        u64::from(u32::MAX),
        u64::MAX,
    ] {
        let command = format!("copen {id},4096");
        expect_errno(session.device.command(&command), Errno::INVAL, &command)?;
    }
    session.answer_open(open)?;
    succeed(session, mount)
}

fn copen_of_a_read_request_is_refused_with_einval(ctx: &Context) -> Result<()> {
    let image = one_file();
    let mut session = ctx.session("kinds", &image)?;
    let mount = session.mount(&ctx.mount_point("kinds"), "fsid=kinds")?;
    session.hold_data("kinds", &image);
    let reader = crate::task::read_in_background(&mount.file("file"));
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    let read = session.held[0];
    for size in ["4096", "-5", "x"] {
        let command = format!("copen {},{size}", read.msg_id);
        expect_errno(session.device.command(&command), Errno::INVAL, &command)?;
    }
    ensure!(!reader.is_done(), "a copen completed a READ");
    session.answer_held_backwards()?;
    ensure!(reader.finish()?? == image.files["file"], "wrong content");
    session.unmount(mount)
}

fn copen_before_the_open_was_read_is_refused_with_einval(ctx: &Context) -> Result<()> {
    let session = ctx.session("guess", &one_file())?;
    let mount = session.mount_in_background(&ctx.mount_point("guess"), "fsid=guess")?;
    ensure!(
        session.device.wait_readable(Some(crate::task::soon()))?,
        "no OPEN"
    );
    for id in 0..4 {
        let command = format!("copen {id},4096");
        expect_errno(session.device.command(&command), Errno::INVAL, &command)?;
    }
    succeed(session, mount)
}

fn second_copen_is_refused_with_einval(ctx: &Context) -> Result<()> {
    let (mut session, mount, open) = held_open(ctx, "double")?;
    let id = open.msg_id;
    session.answer_open(open)?;
    for size in ["4096", "-5"] {
        let command = format!("copen {id},{size}");
        expect_errno(session.device.command(&command), Errno::INVAL, &command)?;
    }
    succeed(session, mount)
}

fn copen_with_a_size_that_does_not_parse_fails_the_open(ctx: &Context) -> Result<()> {
    for size in ["", "x", "12x", "1,2", " 4096", "--1"] {
        let (session, mount, open) = held_open(ctx, "sizes")?;
        let command = format!("copen {},{size}", open.msg_id);
        expect_errno(session.device.command(&command), Errno::INVAL, &command)?;
        fail(session, mount, open)?;
    }
    let (session, mount, open) = held_open(ctx, "sizes")?;
    let command = format!("copen {},9223372036854775808", open.msg_id);
    expect_errno(session.device.command(&command), Errno::RANGE, &command)?;
    fail(session, mount, open)
}

fn copen_with_a_negative_size_fails_the_open(ctx: &Context) -> Result<()> {
    for size in [-1, -2, -5, -4095] {
        let (session, mount, open) = held_open(ctx, "negative")?;
        let command = format!("copen {},{size}", open.msg_id);
        session
            .device
            .command(&command)
            .with_context(|| command.clone())?;
        expect_errno(
            session.device.command(&command),
            Errno::INVAL,
            "the same again",
        )?;
        fail(session, mount, open)?;
    }
    Ok(())
}

fn copen_below_the_errnos_is_refused_and_fails_the_open(ctx: &Context) -> Result<()> {
    for size in ["-4096", "-9223372036854775808"] {
        let (session, mount, open) = held_open(ctx, "below")?;
        let command = format!("copen {},{size}", open.msg_id);
        expect_errno(session.device.command(&command), Errno::INVAL, &command)?;
        fail(session, mount, open)?;
    }
    Ok(())
}

fn copen_after_the_fd_was_closed_fails_the_open(ctx: &Context) -> Result<()> {
    let (session, mount, open) = held_open(ctx, "closed")?;
    let id = open.msg_id;
    drop(open);
    session
        .device
        .command(&format!("copen {id},4096"))
        .context("copen")?;
    fail(session, mount, ())?;
    // Nothing of it sticks to the blob.
    let (mut session, mount, open) = held_open(ctx, "closed")?;
    session.answer_open(open)?;
    succeed(session, mount)
}

fn open_fd_closed_and_never_answered_can_be_answered_late(ctx: &Context) -> Result<()> {
    let (session, mount, open) = held_open(ctx, "late")?;
    drop(open);
    // Either the module hands the OPEN out again by itself, or `restore` makes it.
    if !session
        .device
        .wait_readable(Some(std::time::Duration::from_millis(300)))?
    {
        session.device.restore()?;
    }
    succeed(session, mount)
}

fn absurd_sizes_do_not_hurt(ctx: &Context) -> Result<()> {
    for (number, size) in [
        "0",
        "1",
        "9223372036854775807",
        "9223372036854771712",
        "0x1000",
    ]
    .iter()
    .enumerate()
    {
        let fsid = format!("absurd-{number}");
        let (mut session, mount, open) = held_open(ctx, &fsid)?;
        session
            .device
            .command(&format!("copen {},{size}", open.msg_id))
            .context("copen")?;
        let object = crate::session::Object {
            key: open.cookie_key,
            fd: open.fd,
        };
        session.objects.insert(open.object_id, object);
        session.pump_until("mount to return", |_| mount.is_done())?;
        if let Ok(mount) = mount.finish()? {
            session.unmount(mount)?;
        }
        session.settle()?;
    }
    Ok(())
}

fn closed_device_fails_a_delivered_open(ctx: &Context) -> Result<()> {
    let (session, mount, open) = held_open(ctx, "gone")?;
    drop(session);
    expect_no_cache(mount.finish()?, "mount")?;
    drop(open);
    // The daemon's fd was the last pin: now all can start anew.
    let mut session = Session::new(ctx.bound_device()?, blobs_of("gone", &one_file()));
    let mount = session.mount(&ctx.mount_point("gone"), "fsid=gone")?;
    session.check_files(&mount, &one_file())?;
    session.unmount(mount)
}
