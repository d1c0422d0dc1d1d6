// SPDX-License-Identifier: GPL-2.0
//! Answers to requests that were not handed over yet: ids can be guessed, and `restore` can be
//! written, at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use cachefiles_protocol::{Device, Errno, MAX_MESSAGE_SIZE, Message, ReceiveError};

use super::restore::two_blobs;
use super::slow_copy::{decoded, finish, message, mount_another, mounted, slow_read};
use crate::context::Context;
use crate::registry::{Test, test};
use crate::session::{Object, Session};
use crate::sys;
use crate::task::{Task, soon};

pub const TESTS: &[Test] = &[
    test!(
        guessed_copen_while_its_open_is_copied_is_the_one_answer,
        "CVE-2024-40899: an id is guessed between delivery and copying"
    ),
    test!(
        guessed_refusal_while_its_open_is_copied_is_the_one_answer,
        "CVE-2024-40899: an id is guessed between delivery and copying"
    ),
    test!(
        guessed_ids_and_restore_under_mounts_that_come_and_go_do_no_harm,
        "CVE-2024-40899: guesses race with `restore`, delivery and the end of objects"
    )
    .limit(60),
];

/// Answers the one OPEN that is in the daemon's hands, without knowing its id.
fn guess(device: &Device, below: u32, answer: &str) -> Result<u32> {
    for id in 0..below {
        match device.command(&format!("copen {id},{answer}")) {
            Ok(()) => return Ok(id),
            Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno).context("a guess"),
        }
    }
    Err(anyhow!("no id below {below} is that of an OPEN"))
}

fn guessed_copen_while_its_open_is_copied_is_the_one_answer(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = mounted(ctx, &image)?;
    let other = mount_another(ctx, &mut session, &image)?;
    let size = session.blobs[&b"other"[..]].len().to_string();
    let read = slow_read(&mut session, &mount)?;
    let id = guess(&session.device, 64, &size)?;
    session.device.restore()?;
    let again = guess(&session.device, 64, &size);
    ensure!(again.is_err(), "id {again:?} could be answered as well");
    session.log = Default::default();
    // Nothing is taken meanwhile: READs of the object may come, whose id is not known yet.
    session.hold_reads = None;
    session.answer_held_backwards()?;
    sys::wait_for("the slow read to return", soon(), || read.is_done())?;
    let Message::Open(open) = decoded(read)? else {
        return Err(anyhow!("the message is no OPEN"));
    };
    ensure!(open.msg_id == id, "OPEN {} after {id}", open.msg_id);
    let late = session.device.copen(open.msg_id, Ok(4096));
    ensure!(late == Err(Errno::INVAL), "answered twice: {late:?}");
    // The fd that came with the message is that of the object.
    let (key, fd) = (open.cookie_key, open.fd);
    session.objects.insert(open.object_id, Object { key, fd });
    session.pump_until("the mount", |_| other.is_done())?;
    let opened: Vec<_> = session.log.opens.iter().map(|open| &open.2).collect();
    ensure!(
        opened.iter().all(|key| *key != b"other"),
        "handed out again: {opened:?}"
    );
    finish(session, mount, Some(other), &image)
}

fn guessed_refusal_while_its_open_is_copied_is_the_one_answer(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = mounted(ctx, &image)?;
    let other = mount_another(ctx, &mut session, &image)?;
    let read = slow_read(&mut session, &mount)?;
    session.device.restore()?;
    let id = guess(&session.device, 64, "-5")?;
    session.device.restore()?;
    let refused = session.pump_until("the mount to fail", |_| other.is_done());
    // Whatever else the kernel has to say meanwhile, it is no other OPEN of that object.
    refused?;
    ensure!(other.finish()?.is_err(), "mounted though it was refused");
    let Message::Open(open) = message(&mut session, read)? else {
        return Err(anyhow!("the message is no OPEN"));
    };
    let late = session.device.copen(id, Ok(4096));
    ensure!(late == Err(Errno::INVAL), "answered twice: {late:?}");
    drop(open);
    let other = mount_another(ctx, &mut session, &image)?;
    finish(session, mount, Some(other), &image)
}

/// Ends those who do something over and over; when dropped, too, so that they let go of the device.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `step` on a thread of its own until told to stop. Returns how often.
fn over_and_over(
    what: &str,
    stop: &Stop,
    mut step: impl FnMut() -> Result<()> + Send + 'static,
) -> Task<Result<u64>> {
    let stop = Arc::clone(&stop.0);
    Task::start(what.to_owned(), move || {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            step()?;
            count += 1;
        }
        Ok(count)
    })
}

/// One thread takes messages, and answers READs only; OPENs are answered by another one that
/// guesses.
fn serve_without_copen(session: &mut Session, newest: &AtomicU32) -> Result<()> {
    if !session
        .device
        .wait_readable(Some(Duration::from_millis(10)))?
    {
        return Ok(());
    }
    let message = match session.device.read_message(&mut [0; MAX_MESSAGE_SIZE]) {
        Ok(Some(message)) => message,
        // The second is what the C module says where `restore` has an OPEN delivered twice.
        Ok(None) | Err(ReceiveError::Read(Errno::EXIST)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match message {
        Message::Open(open) => {
            newest.fetch_max(open.msg_id, Ordering::Relaxed);
            let (key, fd) = (open.cookie_key, open.fd);
            session.objects.insert(open.object_id, Object { key, fd });
            Ok(())
        }
        // Of an object that a guess has opened before its message was here: it is asked for again.
        Message::Read(read) if !session.objects.contains_key(&read.object_id) => Ok(()),
        message => session.take(message),
    }
}

fn guessed_ids_and_restore_under_mounts_that_come_and_go_do_no_harm(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session("guess", &image)?;
    let device = Arc::clone(&session.device);
    let (stop, newest) = (Stop::default(), Arc::new(AtomicU32::new(0)));
    let guesser = {
        let (device, newest) = (Arc::clone(&device), Arc::clone(&newest));
        let mut turn = 0;
        over_and_over("guessing", &stop, move || {
            turn += 1;
            let newest = newest.load(Ordering::Relaxed);
            for id in newest.saturating_sub(12)..newest + 4 {
                // Nearly always of no request, or of another kind; now and then a refusal.
                let answer = if turn % 8 == 0 { "-5" } else { "65536" };
                let _ = device.command(&format!("copen {id},{answer}"));
            }
            Ok(())
        })
    };
    let restorer = over_and_over("restoring", &stop, move || Ok(device.restore()?));
    let end = Instant::now() + Duration::from_secs(4);
    let (mut mounts, mut refused) = (0, 0);
    while Instant::now() < end {
        let mount = session.mount_in_background(&ctx.mount_point("guess"), "fsid=guess")?;
        let limit = Instant::now() + soon();
        let mut patience = Instant::now() + Duration::from_millis(300);
        while !mount.is_done() {
            ensure!(Instant::now() < limit, "the mount hangs");
            serve_without_copen(&mut session, &newest)?;
            if Instant::now() > patience {
                // The fd of an OPEN that was refused by a guess keeps its object, and that the next
                // volume of the name: who gave no answer does not know that the fd is of no use.
                session.objects.clear();
                patience = Instant::now() + Duration::from_millis(300);
            }
        }
        match mount.finish()? {
            Ok(mount) => {
                mounts += 1;
                let unmount = mount.unmount();
                while !unmount.is_done() {
                    ensure!(Instant::now() < limit + soon(), "the unmounting hangs");
                    serve_without_copen(&mut session, &newest)?;
                }
                unmount.finish()??;
            }
            Err(_) => refused += 1,
        }
    }
    drop(stop);
    let (guesses, restores) = (guesser.finish()??, restorer.finish()??);
    println!(
        "{mounts} mounts, {refused} refused, {guesses} rounds of guesses, {restores} restores"
    );
    ensure!(
        mounts + refused > 3,
        "only {mounts} mounts, {refused} refused"
    );
    session.objects.clear();
    session.device.restore()?;
    session.settle()?;
    let mount = session.mount(&ctx.mount_point("guess"), "fsid=guess")?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}
