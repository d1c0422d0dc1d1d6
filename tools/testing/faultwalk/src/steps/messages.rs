// SPDX-License-Identifier: GPL-2.0
//! The daemon's side: it takes messages, answers them, and closes its fds.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_harness::session::{Object, Session};
use cachefiles_harness::sys;
use cachefiles_harness::task::{ReadTask, Task};
use cachefiles_protocol::{
    AlignedBuffer, Errno, MAX_MESSAGE_SIZE, Message, ReceiveError, page_size,
};

use super::{FSID, HERE, HERE_WITH_COPIES, OPTIONS, Step, fresh_daemon, outcome, prove, step};
use crate::daemon::{Daemon, Mounted};
use crate::inject::Fault;
use crate::walk::{Below, Walk};

pub const STEPS: &[Step] = &[
    step!(take_an_open, HERE_WITH_COPIES),
    step!(take_a_read, HERE_WITH_COPIES),
    step!(take_a_close, HERE_WITH_COPIES),
    step!(accept_an_open, HERE_WITH_COPIES),
    step!(refuse_an_open, HERE_WITH_COPIES),
    step!(write_data, HERE_WITH_COPIES),
    step!(look_for_data_and_holes, HERE),
    step!(complete_a_read, HERE),
    step!(restore, HERE_WITH_COPIES),
    step!(close_an_object, HERE),
];

/// Takes a message under failure. One that could not be taken is still there.
fn take(session: &Session, fault: &Fault) -> Result<(Message, String)> {
    let mut buffer = [0; MAX_MESSAGE_SIZE];
    ensure!(
        session
            .device
            .wait_readable(Some(cachefiles_harness::task::soon()))?,
        "no message comes"
    );
    let result = fault.hit(|| session.device.read_message(&mut buffer))?;
    let said = match &result {
        Ok(_) => "ok".into(),
        Err(ReceiveError::Read(errno)) => outcome::<()>(&Err(*errno)),
        Err(error) => bail!("a message: {error}"),
    };
    let message = match result {
        Ok(message) => message,
        Err(_) => session
            .device
            .read_message(&mut buffer)
            .context("taking the message once nothing fails any more")?,
    };
    Ok((message.context("the message is gone")?, said))
}

type Mounting = Task<Result<(), Errno>>;

/// A mount whose first OPEN waits for the daemon.
fn opening(walk: &Walk<'_>) -> Result<(Daemon, Mounting)> {
    let daemon = fresh_daemon(walk.ctx)?;
    let point = walk.ctx.mount_point(FSID);
    fs::create_dir_all(&point)?;
    let task = Task::start("mount", move || {
        sys::mount_erofs(&point, OPTIONS.as_bytes())
    });
    Ok((daemon, task))
}

/// Lets a mount that was held up end, whichever way it does, and the image be used.
fn end_mount(walk: &Walk<'_>, mut daemon: Daemon, task: Mounting) -> Result<()> {
    daemon.serve_until("a mount that was held up", |_| task.is_done())?;
    if task.finish()?.is_ok() {
        let mounted = Mounted::at(&walk.ctx.mount_point(FSID));
        daemon.check(&mounted)?;
        daemon.unmount(mounted, None)?;
    }
    prove(walk.ctx, daemon)
}

fn take_an_open(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let (mut daemon, task) = opening(walk)?;
        let (message, said) = take(&daemon.session, fault)?;
        ensure!(
            matches!(message, Message::Open(_)),
            "not an OPEN: {message:?}"
        );
        daemon.session.take(message)?;
        end_mount(walk, daemon, task)?;
        Ok(said)
    })
}

fn accept_an_open(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let (mut daemon, task) = opening(walk)?;
        daemon.session.hold_opens = true;
        daemon.serve_until("an OPEN", |session| !session.held_opens.is_empty())?;
        daemon.session.hold_opens = false;
        let open = daemon.session.held_opens.pop().context("no OPEN")?;
        let size = daemon.image.primary.len() as u64;
        let device = &daemon.session.device;
        let result = fault.hit(|| device.copen(open.msg_id, Ok(size)))?;
        if result.is_ok() {
            let object = Object {
                key: open.cookie_key,
                fd: open.fd,
            };
            daemon.session.objects.insert(open.object_id, object);
        } else {
            daemon.session.answer_open(open)?;
            ensure!(daemon.session.log.late == 0, "the OPEN is gone");
        }
        end_mount(walk, daemon, task)?;
        Ok(outcome(&result))
    })
}

fn refuse_an_open(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let (mut daemon, task) = opening(walk)?;
        daemon.session.hold_opens = true;
        daemon.serve_until("an OPEN", |session| !session.held_opens.is_empty())?;
        daemon.session.hold_opens = false;
        let open = daemon.session.held_opens.pop().context("no OPEN")?;
        let device = &daemon.session.device;
        let result = fault.hit(|| device.copen(open.msg_id, Err(Errno::ACCESS)))?;
        if result.is_err() {
            device
                .copen(open.msg_id, Err(Errno::ACCESS))
                .context("refusing once nothing fails any more")?;
        }
        drop(open);
        daemon.serve_until("a mount that was refused", |_| task.is_done())?;
        ensure!(task.finish()?.is_err(), "a refused mount succeeded");
        prove(walk.ctx, daemon)?;
        Ok(outcome(&result))
    })
}

/// A mount, and a reader whose READ waits for the daemon.
fn reading(walk: &Walk<'_>) -> Result<(Daemon, Mounted, ReadTask)> {
    let mut daemon = fresh_daemon(walk.ctx)?;
    let mounted = daemon
        .mount(&walk.ctx.mount_point(FSID), OPTIONS, None)?
        .context("mounting")?;
    // So that what comes next is a READ of the file's data.
    let file = mounted.file("far");
    daemon.calmly("a look-up", move || fs::metadata(file).map(drop))??;
    let task = cachefiles_harness::task::read_in_background(&mounted.file("far"));
    Ok((daemon, mounted, task))
}

/// Lets a reader that was held up end, with the right data.
fn end_read(walk: &Walk<'_>, mut daemon: Daemon, mounted: Mounted, task: ReadTask) -> Result<()> {
    daemon.serve_until("a read that was held up", |_| task.is_done())?;
    let seen = task.finish()?.context("a read that was held up")?;
    ensure!(
        daemon.image.files.get("far") == Some(&seen),
        "it reads back wrong"
    );
    daemon.check(&mounted)?;
    daemon.unmount(mounted, None)?;
    prove(walk.ctx, daemon)
}

fn take_a_read(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let (mut daemon, mounted, task) = reading(walk)?;
        let (message, said) = take(&daemon.session, fault)?;
        ensure!(
            matches!(message, Message::Read(_)),
            "not a READ: {message:?}"
        );
        daemon.session.take(message)?;
        end_read(walk, daemon, mounted, task)?;
        Ok(said)
    })
}

/// The same up to where the daemon has the READ.
fn held_read(walk: &Walk<'_>) -> Result<(Daemon, Mounted, ReadTask, cachefiles_protocol::Read)> {
    let (mut daemon, mounted, task) = reading(walk)?;
    daemon.session.hold_reads = Some(Box::new(|_, _| true));
    daemon.serve_until("a READ", |session| !session.held.is_empty())?;
    daemon.session.hold_reads = None;
    let read = daemon.session.held.pop().context("no READ")?;
    Ok((daemon, mounted, task, read))
}

fn write_data(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let (mut daemon, mounted, task, read) = held_read(walk)?;
        let object = daemon.session.object(read.object_id)?;
        let blob = daemon.session.blobs.get(&object.key).context("no blob")?;
        let start = usize::try_from(read.off)?;
        let length = usize::try_from(read.len)?.next_multiple_of(page_size() as usize);
        let mut buffer = AlignedBuffer::new(length);
        let part = blob.get(start..).unwrap_or_default();
        let part = part.get(..length).unwrap_or(part);
        buffer[..part.len()].copy_from_slice(part);
        let result = fault.hit(|| object.fd.write_at(&buffer, read.off))?;
        daemon.session.answer_read(&read)?;
        end_read(walk, daemon, mounted, task)?;
        Ok(outcome(&result))
    })
}

fn look_for_data_and_holes(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let (mut daemon, mounted, task, read) = held_read(walk)?;
        let fd = &daemon.session.object(read.object_id)?.fd;
        let result = fault.hit(|| fd.seek_hole(0).and_then(|_| fd.seek_data(0)))?;
        fd.seek_hole(0)
            .context("looking once nothing fails any more")?;
        daemon.session.answer_read(&read)?;
        end_read(walk, daemon, mounted, task)?;
        Ok(outcome(&result))
    })
}

fn complete_a_read(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let (mut daemon, mounted, task, read) = held_read(walk)?;
        daemon.session.fill(read.object_id, read.off, read.len)?;
        let fd = &daemon.session.object(read.object_id)?.fd;
        let result = fault.hit(|| fd.complete_read(read.msg_id))?;
        if result.is_err() {
            fd.complete_read(read.msg_id)
                .context("completing once nothing fails any more")?;
        }
        end_read(walk, daemon, mounted, task)?;
        Ok(outcome(&result))
    })
}

fn restore(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let (daemon, mounted, task, _forgotten) = held_read(walk)?;
        let result = fault.hit(|| daemon.session.device.restore())?;
        if result.is_err() {
            daemon
                .session
                .device
                .restore()
                .context("restore once nothing fails any more")?;
        }
        end_read(walk, daemon, mounted, task)?;
        Ok(outcome(&result))
    })
}

/// The fd goes while a READ is in the daemon's hands: the object is opened again for it.
fn close_an_object(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let (mut daemon, mounted, task, read) = held_read(walk)?;
        let object = daemon.session.objects.remove(&read.object_id);
        fault.hit(move || drop(object))?;
        end_read(walk, daemon, mounted, task)?;
        Ok("ok".into())
    })
}

fn take_a_close(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let mut daemon = fresh_daemon(walk.ctx)?;
        let mounted = daemon
            .mount(&walk.ctx.mount_point(FSID), OPTIONS, None)?
            .context("mounting")?;
        let task = Task::start("unmounting", move || mounted.unmount());
        let (message, said) = take(&daemon.session, fault)?;
        ensure!(
            matches!(message, Message::Close(_)),
            "not a CLOSE: {message:?}"
        );
        daemon.session.take(message)?;
        daemon.serve_until("unmounting", |_| task.is_done())?;
        task.finish()??;
        daemon.settle()?;
        prove(walk.ctx, daemon)?;
        Ok(said)
    })
}
