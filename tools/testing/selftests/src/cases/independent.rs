// SPDX-License-Identifier: GPL-2.0
//! What does not wait for what: hundreds of objects that reopen for nobody, and nobody for them;
//! the daemon's answers not for a cull.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use super::restore::two_blobs;
use crate::actor::Actor;
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::sys;
use crate::task::{ReadTask, Task, read_in_background, soon};

pub const TESTS: &[Test] = &[
    test!(
        hundreds_of_objects_reopening_at_once_do_not_stall,
        "FAULTS 7: reopening waits for nobody else's reopening"
    )
    .c_fails("each OPEN occupies one of the 256 workers that all of fscache shares")
    .limit(120),
    test!(
        image_is_mounted_and_unmounted_while_hundreds_of_objects_reopen,
        "FAULTS 7: nobody waits for the reopening of others"
    )
    .c_fails("look-up and withdrawal wait for a worker, and all are occupied")
    .limit(120),
    test!(
        answers_do_not_wait_for_a_cull,
        "FAULTS 9: a reader does not wait for the disk work of another command"
    )
    .c_fails("one mutex for all commands"),
];

/// More than fscache has workers.
const COUNT: u16 = 270;

/// An image over many blobs, with a file on each.
fn many() -> Image {
    let mut builder = Builder::new();
    for number in 1..=COUNT {
        builder = builder.device(format!("blob-{number}"));
    }
    for number in 1..=COUNT {
        let data = pattern(number.into(), BLOCK);
        builder = builder.chunked(&format!("{number}"), data, 1, &[Some(number)]);
    }
    builder.build()
}

/// Somebody who reads a file, and what is in it.
type Reader<'a> = (ReadTask, &'a Vec<u8>);

/// A mounted image with a READ of each object in flight, all of whose objects need an OPEN.
fn all_closed<'a>(ctx: &Context, image: &'a Image) -> Result<(Session, Mount, Vec<Reader<'a>>)> {
    let mut session = ctx.session("many", image)?;
    let mount = session.mount(&ctx.mount_point("many"), "fsid=many")?;
    session.hold_data("many", image);
    let readers: Vec<_> = image
        .files
        .iter()
        .map(|(name, data)| (read_in_background(&mount.file(name)), data))
        .collect();
    let count = readers.len();
    session.pump_until("a READ of each", |session| session.held.len() == count)?;
    session.crash();
    session.device.restore()?;
    session.hold_opens = true;
    Ok((session, mount, readers))
}

/// Whatever came of it, nobody is left waiting.
fn take_down(mut session: Session, mount: Mount, readers: Vec<Reader<'_>>) -> Result<()> {
    session.hold_opens = false;
    session.hold_reads = None;
    for open in std::mem::take(&mut session.held_opens) {
        session.answer_open(open)?;
    }
    for (reader, data) in readers {
        session.pump_until("a reader to finish", |_| reader.is_done())?;
        ensure!(reader.finish()?? == *data, "wrong content");
    }
    session.unmount(mount)?;
    session.settle()
}

fn hundreds_of_objects_reopening_at_once_do_not_stall(ctx: &Context) -> Result<()> {
    let image = many();
    let (mut session, mount, readers) = all_closed(ctx, &image)?;
    let all = session.pump_until("an OPEN of each", |session| {
        session.held_opens.len() == usize::from(COUNT)
    });
    take_down(session, mount, readers)?;
    all
}

fn image_is_mounted_and_unmounted_while_hundreds_of_objects_reopen(ctx: &Context) -> Result<()> {
    let image = many();
    let (mut session, mount, readers) = all_closed(ctx, &image)?;
    session.pump_until("256 OPENs", |session| session.held_opens.len() >= 256)?;
    // Those that are held stay held; what comes from now on is answered.
    session.hold_opens = false;
    let other = two_blobs();
    session.blobs.extend(blobs_of("bystander", &other));
    session.hold_reads = None;
    let held = session.held_opens.len();
    let bystander = (|| -> Result<()> {
        let mount = session.mount(&ctx.mount_point("bystander"), "fsid=bystander")?;
        session.check_files(&mount, &other)?;
        session.unmount(mount)
    })();
    ensure!(session.held_opens.len() == held, "an OPEN was answered");
    let down = take_down(session, mount, readers);
    bystander.context("the bystander")?;
    down
}

fn answers_do_not_wait_for_a_cull(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session("held", &image)?;
    let mount = session.mount(&ctx.mount_point("held"), "fsid=held")?;
    let other = two_blobs();
    session.blobs.extend(blobs_of("other", &other));
    let busy = Path::new(sys::CACHE).join("cache/busy");
    fs::create_dir(&busy)?;
    fs::write(busy.join("victim"), b"")?;

    // Somebody lists the directory, and keeps it locked while the daemon does not answer.
    session.hold_data("held", &image);
    let lister = Actor::lister(&busy, &mount.file("a"))?;
    session.pump_until("the READ of who lists", |session| !session.held.is_empty())?;
    std::env::set_current_dir(&busy)?;
    let device = Arc::clone(&session.device);
    let cull = Task::start("the cull", move || device.command("cull victim"));
    sys::wait_for("the cull to wait", soon(), || cull.sleeps())?;

    // Meanwhile the other image is mounted and read, with all that it takes.
    session.hold_reads = Some(Box::new(|key, _| key == b"blob-a"));
    session.hold_opens = true;
    let other_mount = session.mount_in_background(&ctx.mount_point("other"), "fsid=other")?;
    session.pump_until("an OPEN", |session| !session.held_opens.is_empty())?;
    let (device, open) = (Arc::clone(&session.device), session.held_opens.remove(0));
    let size = session.blobs[&open.cookie_key].len() as u64;
    let id = open.msg_id;
    let copen = Task::start("copen", move || device.copen(id, Ok(size)));
    let in_time = sys::wait_for("copen to return", soon(), || copen.is_done());
    if in_time.is_ok() {
        session.device.restore()?;
    }
    let object = crate::session::Object {
        key: open.cookie_key,
        fd: open.fd,
    };
    session.objects.insert(open.object_id, object);
    let cull_waited = !cull.is_done();

    // The first image's READ came back by `restore`, or is still held.
    session.hold_reads = None;
    session.answer_held_backwards()?;
    session.pump_until("the cull and copen", |_| cull.is_done() && copen.is_done())?;
    in_time?;
    ensure!(cull_waited, "the cull did not wait");
    session.hold_opens = false;
    for open in std::mem::take(&mut session.held_opens) {
        session.answer_open(open)?;
    }
    session.pump_until("the mount to return", |_| other_mount.is_done())?;
    let other_mount = other_mount.finish()?.context("mount")?;
    session.check_files(&other_mount, &other)?;
    std::env::set_current_dir("/")?;
    lister.said()?;
    cull.finish()?.context("the cull")?;
    copen.finish()?.context("copen")?;
    session.unmount(other_mount)?;
    session.unmount(mount)?;
    session.settle()
}
