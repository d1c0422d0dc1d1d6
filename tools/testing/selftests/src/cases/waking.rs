// SPDX-License-Identifier: GPL-2.0
//! Who wakes up, and for what: a request wakes one of those who wait exclusively, and whatever
//! makes a message readable wakes whoever sleeps in poll. Wake-ups are counted, not timed.

use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Device, Errno};
use rustix::event::epoll;

use super::restore::{finish, one_read_in_flight, two_blobs};
use crate::context::Context;
use crate::image::{BLOCK, Builder, pattern};
use crate::registry::{Test, test};
use crate::session::Session;
use crate::sys;
use crate::task::{Task, read_in_background, soon};

pub const TESTS: &[Test] = &[
    test!(
        request_wakes_one_of_many_exclusive_waiters,
        "FAULTS 8: a daemon may have many threads, and pays for one wake-up a request"
    )
    .c_fails("every waiter is woken for every request"),
    test!(
        requests_at_once_wake_a_waiter_each,
        "CVE-2024-42250, FAULTS 8: no request waits for a thread that is busy with another"
    ),
    test!(
        poll_wakes_up_when_the_fd_of_an_object_with_reads_in_flight_is_closed,
        "FAULTS 15: a daemon that sleeps learns that an object must be opened again"
    )
    .c_fails("nobody is woken, and the READ waits for `restore`"),
    test!(
        poll_wakes_up_when_the_fd_of_a_reopening_is_closed,
        "FAULTS 15: a daemon that sleeps learns that an object must be opened again"
    )
    .c_fails("nobody is woken, though a read would begin the next reopening"),
    test!(
        poll_wakes_up_when_a_reopening_is_refused,
        "FAULTS 1, FAULTS 15: a daemon that sleeps learns of the next try"
    )
    .c_fails("nobody is woken, and there is no next try while the fd is open"),
];

/// How many wait for the device.
const WAITERS: usize = 8;

/// A thread that waits for the device in an epoll of its own, exclusively, until it is told once.
fn exclusive_waiter(device: &Arc<Device>) -> Task<Result<()>> {
    let device = Arc::clone(device);
    Task::start("an exclusive waiter", move || {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        let data = epoll::EventData::new_u64(0);
        epoll::add(&epoll, device.as_fd(), data, flags)?;
        let mut events = [epoll::Event { flags, data }];
        epoll::wait(&epoll, &mut events, None)?;
        Ok(())
    })
}

/// Waiters that all sleep, each with the number of times it went to sleep so far.
fn sleeping_waiters(device: &Arc<Device>) -> Result<Vec<(Task<Result<()>>, u64)>> {
    let waiters: Vec<_> = (0..WAITERS).map(|_| exclusive_waiter(device)).collect();
    sys::wait_for("all waiters to sleep", soon(), || {
        waiters.iter().all(Task::sleeps)
    })?;
    waiters
        .into_iter()
        .map(|waiter| {
            let times = waiter.times_asleep()?;
            Ok((waiter, times))
        })
        .collect()
}

/// How many of the waiters were woken, whether that ended their system call or not.
fn woken(waiters: &[(Task<Result<()>>, u64)]) -> Result<usize> {
    sys::wait_for("the waiters to come to rest", soon(), || {
        waiters
            .iter()
            .all(|(waiter, _)| waiter.is_done() || waiter.sleeps())
    })?;
    let mut count = 0;
    for (waiter, before) in waiters {
        count += usize::from(waiter.is_done() || waiter.times_asleep()? > *before);
    }
    Ok(count)
}

fn request_wakes_one_of_many_exclusive_waiters(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session("over", &image)?;
    let mount = session.mount(&ctx.mount_point("over"), "fsid=over")?;
    session.look_up(&mount.file("a"))?;
    let waiters = sleeping_waiters(&session.device)?;
    let reader = read_in_background(&mount.file("a"));
    // Who waits for the answer has woken by then whomever it wakes.
    sys::wait_for("the reader to wait", soon(), || reader.sleeps())?;
    sys::wait_for("a waiter to be told", soon(), || {
        waiters.iter().any(|(waiter, _)| waiter.is_done())
    })?;
    let woken = woken(&waiters)?;
    finish(session, mount, &image, reader)?;
    ensure!(woken == 1, "{woken} of {WAITERS} waiters were woken");
    Ok(())
}

fn requests_at_once_wake_a_waiter_each(ctx: &Context) -> Result<()> {
    const READERS: u16 = 4;
    let mut builder = Builder::new();
    for number in 1..=READERS {
        builder = builder.device(format!("blob-{number}"));
    }
    for number in 1..=READERS {
        let data = pattern(number.into(), BLOCK);
        builder = builder.chunked(&format!("{number}"), data, 1, &[Some(number)]);
    }
    let image = builder.build();
    let mut session = ctx.session("over", &image)?;
    let mount = session.mount(&ctx.mount_point("over"), "fsid=over")?;
    for name in image.files.keys() {
        session.look_up(&mount.file(name))?;
    }
    let waiters = sleeping_waiters(&session.device)?;
    let readers: Vec<_> = image
        .files
        .iter()
        .map(|(name, data)| (read_in_background(&mount.file(name)), data))
        .collect();
    let told = || {
        waiters
            .iter()
            .filter(|(waiter, _)| waiter.is_done())
            .count()
    };
    sys::wait_for("a waiter for each request", soon(), || {
        told() >= READERS.into()
    })?;
    for (reader, data) in readers {
        session.pump_until("a reader to finish", |_| reader.is_done())?;
        ensure!(reader.finish()?? == *data, "wrong content");
    }
    session.unmount(mount)?;
    session.settle()
}

/// Does `event` to a session with one READ in flight, at a moment that `prepare` brings about,
/// while somebody sleeps in poll, who has to wake up.
fn wakes_up(
    ctx: &Context,
    prepare: impl FnOnce(&mut Session) -> Result<()>,
    event: impl FnOnce(&mut Session) -> Result<()>,
) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    prepare(&mut session)?;
    let device = Arc::clone(&session.device);
    let waiter = Task::start("somebody in poll", move || device.wait_readable(None));
    sys::wait_for("somebody to sleep in poll", soon(), || waiter.sleeps())?;
    event(&mut session)?;
    ensure!(waiter.finish()??, "poll ended without a message");
    session.crash();
    session.hold_opens = false;
    finish(session, mount, &image, reader)
}

/// Lets the object of the READ be opened again, and the OPEN be held.
fn hold_a_reopening(session: &mut Session) -> Result<()> {
    session.crash();
    session.device.restore()?;
    session.hold_opens = true;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())
}

fn poll_wakes_up_when_the_fd_of_an_object_with_reads_in_flight_is_closed(
    ctx: &Context,
) -> Result<()> {
    wakes_up(
        ctx,
        |_| Ok(()),
        |session| {
            session.crash();
            Ok(())
        },
    )
}

fn poll_wakes_up_when_the_fd_of_a_reopening_is_closed(ctx: &Context) -> Result<()> {
    wakes_up(ctx, hold_a_reopening, |session| {
        session.crash();
        Ok(())
    })
}

fn poll_wakes_up_when_a_reopening_is_refused(ctx: &Context) -> Result<()> {
    wakes_up(ctx, hold_a_reopening, |session| {
        let open = session.held_opens.first().context("no OPEN")?;
        session.device.copen(open.msg_id, Err(Errno::IO))?;
        Ok(())
    })
}
