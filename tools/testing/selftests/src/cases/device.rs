// SPDX-License-Identifier: GPL-2.0
//! The device file itself: who may open it, what read and poll say.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Device, Errno, MAX_MESSAGE_SIZE, Message};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::SeekFrom;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::context::{Context, expect_errno};
use crate::image::{Builder, pattern};
use crate::registry::{Test, test};
use crate::session::{MountTask, Session};
use crate::sys;
use crate::task::Task;

pub const TESTS: &[Test] = &[
    test!(
        device_is_a_misc_device,
        "udev rules and daemons find the device by its name"
    ),
    test!(
        open_without_cap_sys_admin_is_refused_with_eperm,
        "only an administrator may serve a cache"
    ),
    test!(
        second_open_is_refused_with_ebusy_until_the_first_is_closed,
        "there is one daemon at a time"
    ),
    test!(
        read_before_bind_returns_zero,
        "there is nothing to read yet, and that is no error"
    ),
    test!(
        idle_bound_device_has_nothing_to_read_and_does_not_poll,
        "a daemon does not spin"
    ),
    test!(
        poll_says_in_while_a_request_can_be_handed_out,
        "epoll-driven daemons wake up, and go back to sleep"
    ),
    test!(
        short_buffer_gets_emsgsize_and_keeps_the_request,
        "a request is not lost to a small buffer"
    ),
    test!(
        bad_buffer_gets_efault_and_keeps_the_request,
        "FAULTS 6: a request is not lost to a bad address"
    )
    .c_fails("an EFAULT in the daemon's read fails the request itself"),
    test!(
        full_fd_table_gets_emfile_and_keeps_the_request,
        "FAULTS 6: a request is not lost to a full fd table"
    )
    .c_fails("an EMFILE in the daemon's read fails the request itself"),
    test!(
        seek_on_the_device_is_harmless,
        "lseek is defined, and does nothing"
    ),
    test!(
        cache_lives_until_the_last_fd_of_the_device_is_closed,
        "a holder of the device keeps the cache alive"
    ),
    test!(
        closing_the_device_fails_what_is_queued,
        "CVE-2024-40900, CVE-2024-40935: no reader waits for a daemon that is gone"
    ),
];

fn device_is_a_misc_device(ctx: &Context) -> Result<()> {
    let misc = fs::read_to_string("/proc/misc")?;
    ensure!(
        misc.lines()
            .any(|line| line.split_whitespace().nth(1) == Some("cachefiles")),
        "/proc/misc has no cachefiles: {misc}"
    );
    ctx.device().map(drop)
}

fn open_without_cap_sys_admin_is_refused_with_eperm(_: &Context) -> Result<()> {
    // Capabilities belong to the thread: the rest of the test keeps its own.
    let task = Task::start("open", || -> Result<Result<Device, Errno>> {
        let mut sets = capabilities(None)?;
        sets.effective.remove(CapabilitySet::SYS_ADMIN);
        set_capabilities(None, sets)?;
        Ok(Device::open())
    });
    expect_errno(task.finish()??, Errno::PERM, "open without CAP_SYS_ADMIN")?;
    Device::open().context("a refused open must not count as an open")?;
    Ok(())
}

fn second_open_is_refused_with_ebusy_until_the_first_is_closed(ctx: &Context) -> Result<()> {
    let first = ctx.device()?;
    expect_errno(Device::open(), Errno::BUSY, "second open")?;
    let duplicate = first.try_clone()?;
    drop(first);
    expect_errno(
        Device::open(),
        Errno::BUSY,
        "open while a duplicate is left",
    )?;
    drop(duplicate);
    ctx.device().map(drop)
}

fn read_before_bind_returns_zero(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    let mut buffer = [0; MAX_MESSAGE_SIZE];
    ensure!(
        rustix::io::read(&device, &mut buffer)? == 0,
        "read something before bind"
    );
    device.command("dir /cache")?;
    ensure!(
        rustix::io::read(&device, &mut buffer)? == 0,
        "read something before bind"
    );
    Ok(())
}

/// What poll says of the device at once.
fn poll_now(device: &Device) -> Result<PollFlags> {
    let mut fds = [PollFd::new(
        device,
        PollFlags::IN | PollFlags::OUT | PollFlags::PRI,
    )];
    poll(
        &mut fds,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }),
    )?;
    Ok(fds[0].revents())
}

fn idle_bound_device_has_nothing_to_read_and_does_not_poll(ctx: &Context) -> Result<()> {
    let device = ctx.bound_device()?;
    let mut buffer = [0; MAX_MESSAGE_SIZE];
    ensure!(
        rustix::io::read(&*device, &mut buffer)? == 0,
        "an idle cache sent a message"
    );
    let events = poll_now(&device)?;
    ensure!(events.is_empty(), "an idle cache polls as {events:?}");
    let mut fds = [PollFd::new(&*device, PollFlags::IN)];
    let waited = poll(
        &mut fds,
        Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        }),
    )?;
    ensure!(waited == 0, "poll did not wait");
    Ok(())
}

/// A session with one OPEN waiting to be read, caused by a mount in the background.
fn with_a_queued_open(ctx: &Context) -> Result<(Session, MountTask)> {
    let image = Builder::new().plain("file", pattern(1, 4096)).build();
    let session = ctx.session("queued", &image)?;
    let mount = session.mount_in_background(&ctx.mount_point("queued"), "fsid=queued")?;
    ensure!(
        session.device.wait_readable(Some(crate::task::soon()))?,
        "no request arrives"
    );
    Ok((session, mount))
}

/// Lets the mount succeed, looks at the file, and unmounts.
fn finish(mut session: Session, mount: MountTask) -> Result<()> {
    session.pump_until("mount to return", |_| mount.is_done())?;
    let mount = mount.finish()?.context("mount")?;
    let data = session.read_file(&mount.file("file"))?;
    ensure!(data == pattern(1, 4096), "wrong content");
    session.unmount(mount)
}

fn poll_says_in_while_a_request_can_be_handed_out(ctx: &Context) -> Result<()> {
    let (mut session, mount) = with_a_queued_open(ctx)?;
    let events = poll_now(&session.device)?;
    ensure!(
        events == PollFlags::IN,
        "with a new OPEN the device polls as {events:?}"
    );
    session.hold_opens = true;
    session.step()?;
    ensure!(session.held_opens.len() == 1, "the OPEN was not read");
    let events = poll_now(&session.device)?;
    ensure!(
        events.is_empty(),
        "with the OPEN delivered the device polls as {events:?}"
    );
    let open = session.held_opens.pop().context("no OPEN")?;
    session.hold_opens = false;
    session.answer_open(open)?;
    finish(session, mount)
}

fn short_buffer_gets_emsgsize_and_keeps_the_request(ctx: &Context) -> Result<()> {
    let (mut session, mount) = with_a_queued_open(ctx)?;
    // Header, payload, `erofs,queued` with its NUL, `queued`.
    let length = 16 + 16 + 13 + 6;
    for size in [0, 1, 16, length - 1] {
        let mut small = vec![0; size];
        let result = rustix::io::read(&*session.device, &mut small);
        expect_errno(result, Errno::MSGSIZE, &format!("read into {size} bytes"))?;
    }
    ensure!(
        session.device.wait_readable(Some(Duration::ZERO))?,
        "the request is gone"
    );
    let mut exact = vec![0; length];
    match session.device.read_message(&mut exact)? {
        Some(message @ Message::Open(_)) => session.take(message)?,
        other => anyhow::bail!("read {other:?} instead of the OPEN"),
    }
    finish(session, mount)
}

fn bad_buffer_gets_efault_and_keeps_the_request(ctx: &Context) -> Result<()> {
    let (session, mount) = with_a_queued_open(ctx)?;
    let before = open_fds()?;
    // Where the zero page is: never mapped.
    let result = crate::raw::read_to_address(&*session.device, 8, MAX_MESSAGE_SIZE);
    expect_errno(result, Errno::FAULT, "read to a bad address")?;
    ensure!(open_fds()? == before, "the failed read left an fd behind");
    ensure!(
        session.device.wait_readable(Some(Duration::ZERO))?,
        "the request is gone"
    );
    finish(session, mount)
}

fn full_fd_table_gets_emfile_and_keeps_the_request(ctx: &Context) -> Result<()> {
    let (session, mount) = with_a_queued_open(ctx)?;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(0),
            maximum: limit.maximum,
        },
    )?;
    let mut buffer = [0; MAX_MESSAGE_SIZE];
    let result = rustix::io::read(&*session.device, &mut buffer);
    setrlimit(Resource::Nofile, limit)?;
    expect_errno(
        result,
        Errno::MFILE,
        "read of an OPEN without room for its fd",
    )?;
    ensure!(
        session.device.wait_readable(Some(Duration::ZERO))?,
        "the request is gone"
    );
    finish(session, mount)
}

fn open_fds() -> Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

fn seek_on_the_device_is_harmless(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    ensure!(
        rustix::fs::seek(&device, SeekFrom::Start(4096)).is_ok(),
        "lseek is refused"
    );
    device
        .command("dir /cache")
        .context("a command after lseek")
}

fn cache_lives_until_the_last_fd_of_the_device_is_closed(ctx: &Context) -> Result<()> {
    let image = Builder::new().plain("file", pattern(1, 4096)).build();
    let mut session = ctx.session("held", &image)?;
    let holder = session.device.try_clone()?;
    let mount = session.mount(&ctx.mount_point("held"), "fsid=held")?;
    // The daemon's own fd goes, and what it knew of objects stays: another fd does as well.
    session.device = std::sync::Arc::new(holder);
    session.check_files(&mount, &image)?;
    expect_errno(Device::open(), Errno::BUSY, "open while a holder is left")?;
    session.unmount(mount)?;
    session.settle()?;
    drop(session);
    sys::wait_for("the device to be free", crate::task::soon(), || {
        Device::open().is_ok()
    })
}

fn closing_the_device_fails_what_is_queued(ctx: &Context) -> Result<()> {
    let (session, mount) = with_a_queued_open(ctx)?;
    drop(session);
    ensure!(
        mount.finish()?.is_err(),
        "a mount that nobody served succeeded"
    );
    sys::wait_for("the device to be free", crate::task::soon(), || {
        Device::open().is_ok()
    })
}
