// SPDX-License-Identifier: GPL-2.0
//! A daemon that misbehaves: nonsense in every form, fds closed at the wrong moment, several
//! workers at once. Afterwards everything has to work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use cachefiles_protocol::MAX_MESSAGE_SIZE;

use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::raw;
use crate::registry::{Test, test};
use crate::session::{Mount, Session};
use crate::task::{ReadTask, Task, read_in_background};

pub const TESTS: &[Test] = &[
    test!(
        random_bytes_as_commands_do_no_harm,
        "the parser takes anything"
    ),
    test!(
        random_commands_do_no_harm,
        "commands in any order, with any argument"
    )
    .limit(60),
    test!(random_ioctls_do_no_harm, "ioctls with any number"),
    test!(
        several_workers_share_the_device,
        "CVE-2024-42250: each request is handed out once"
    ),
    test!(
        fds_duplicated_and_closed_under_load_do_no_harm,
        "any use of the fds is survived"
    )
    .limit(60),
    test!(
        objects_closed_under_load_are_reopened,
        "a daemon that closes at random is served again"
    )
    .limit(60),
    test!(
        fds_closed_while_they_are_handed_out_do_no_harm,
        "CVE-2024-40913: an fd is complete before anybody can close it"
    )
    .limit(60),
    test!(
        daemon_that_never_answers_holds_up_nobody_who_is_killed,
        "SIGKILL ends every wait"
    ),
    test!(
        mounts_that_come_and_go_under_load_do_no_harm,
        "mounts and unmounts overlap"
    )
    .limit(90),
];

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 32).unwrap_or_default() % bound
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

fn files(count: u32, blocks: usize) -> Image {
    let mut builder = Builder::new().device("blob-a").device("blob-b");
    for number in 0..count {
        let data = pattern(number, blocks * BLOCK);
        let place = Some(1 + (number % 2) as u16);
        builder = builder.chunked(&format!("{number:02}"), data, blocks, &[place]);
    }
    builder.build()
}

/// A mount with a READ in flight, so that the nonsense has something to hit.
fn exposed(ctx: &Context, image: &Image) -> Result<(Session, Mount, ReadTask)> {
    let mut session = ctx.session("hostile", image)?;
    let mount = session.mount(&ctx.mount_point("hostile"), "fsid=hostile")?;
    session.hold_data("hostile", image);
    let reader = read_in_background(&mount.file("00"));
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    Ok((session, mount, reader))
}

/// Everything must work, whatever went before.
fn recover(mut session: Session, mount: Mount, image: &Image, reader: ReadTask) -> Result<()> {
    session.hold_reads = None;
    session.answer_held_backwards()?;
    session.pump_until("the reader to finish", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image.files["00"], "wrong content");
    session.check_files(&mount, image)?;
    session.unmount(mount)?;
    session.settle()
}

fn random_bytes_as_commands_do_no_harm(ctx: &Context) -> Result<()> {
    let image = files(2, 4);
    let (session, mount, reader) = exposed(ctx, &image)?;
    let mut numbers = Numbers(0x5eed_0001);
    let mut refused = 0;
    for _ in 0..3000 {
        let length = numbers.below(80);
        let bytes: Vec<u8> = (0..length).map(|_| numbers.next() as u8).collect();
        refused += usize::from(session.device.command_bytes(&bytes).is_err());
    }
    ensure!(
        refused > 2990,
        "only {refused} of 3000 lines of noise were refused"
    );
    recover(session, mount, &image, reader)
}

fn random_commands_do_no_harm(ctx: &Context) -> Result<()> {
    const WORDS: &[&str] = &[
        "bind", "brun", "bcull", "bstop", "cull", "dir", "frun", "fcull", "fstop", "inuse",
        "secctx", "tag", "copen", "restore", "debug 8", "unknown",
    ];
    const ARGUMENTS: &[&str] = &[
        "",
        " ",
        " 0",
        " 1%",
        " 50%",
        " 99%",
        " 100%",
        " -1",
        " ondemand",
        " x",
        " /cache",
        " /nowhere",
        " 4711,4096",
        " 4294967295,-5",
        " 99999,",
        " ,",
        " 18446744073709551615,1",
        " x,y",
        " ../x",
        " nothing\nhere",
        "\n",
        "\n\n",
        ",",
        " %n%s%p",
    ];
    let image = files(2, 4);
    let (session, mount, reader) = exposed(ctx, &image)?;
    let mut numbers = Numbers(0x5eed_0002);
    std::env::set_current_dir(&ctx.work)?;
    for _ in 0..3000 {
        let mut command = numbers.pick(WORDS).to_owned();
        for _ in 0..=numbers.below(2) {
            command.push_str(numbers.pick(ARGUMENTS));
        }
        // Its answer is tested elsewhere: here only the aftermath counts.
        let _ = session.device.command(&command);
    }
    std::env::set_current_dir("/")?;
    session.device.command("debug 0")?;
    recover(session, mount, &image, reader)
}

fn random_ioctls_do_no_harm(ctx: &Context) -> Result<()> {
    let image = files(2, 4);
    let (session, mount, reader) = exposed(ctx, &image)?;
    let held = session.held[0].msg_id;
    let object = &session.object(session.held[0].object_id)?.fd;
    let mut numbers = Numbers(0x5eed_0003);
    for _ in 0..3000 {
        // Half of them in the family of the known one; the READ that is held is left alone.
        let mut operation = numbers.next() as u32;
        if numbers.below(2) == 0 {
            operation = (operation & 0xffff_0000) | 0x9800 | (operation & 0x3);
        }
        let argument = numbers.next() as u16;
        if u32::from(argument & 0xfff) == held {
            continue;
        }
        let _ = raw::any_ioctl(object, operation, argument);
        let _ = raw::any_ioctl(&*session.device, operation, argument);
    }
    // FIONBIO and its like are done by the kernel for every file; undo what matters.
    rustix::io::ioctl_fionbio(&*session.device, false).ok();
    recover(session, mount, &image, reader)
}

fn several_workers_share_the_device(ctx: &Context) -> Result<()> {
    let image = files(40, 2);
    let mut session = ctx.session("hostile", &image)?;
    let mount = session.mount(&ctx.mount_point("hostile"), "fsid=hostile")?;
    let device = Arc::clone(&session.device);
    let stop = Arc::new(AtomicBool::new(false));
    let shared = Arc::new(Mutex::new(session));
    let workers: Vec<_> = (0..4)
        .map(|number| {
            let (device, stop, shared) =
                (Arc::clone(&device), Arc::clone(&stop), Arc::clone(&shared));
            Task::start(format!("worker {number}"), move || -> Result<usize> {
                let mut taken = 0;
                let mut buffer = [0; MAX_MESSAGE_SIZE];
                while !stop.load(Ordering::Relaxed) {
                    device.wait_readable(Some(Duration::from_millis(10)))?;
                    // Outside the lock: this is where they meet.
                    if let Some(message) = device.read_message(&mut buffer)? {
                        taken += 1;
                        shared
                            .lock()
                            .map_err(|_| anyhow!("poisoned"))?
                            .take(message)?;
                    }
                }
                Ok(taken)
            })
        })
        .collect();
    let readers: Vec<_> = image
        .files
        .iter()
        .map(|(name, data)| (read_in_background(&mount.file(name)), data))
        .collect();
    for (reader, data) in readers {
        ensure!(reader.finish()?? == *data, "wrong content");
    }
    stop.store(true, Ordering::Relaxed);
    let mut taken = 0;
    for worker in workers {
        taken += worker.finish()??;
    }
    let Ok(mutex) = Arc::try_unwrap(shared) else {
        anyhow::bail!("a worker lives on");
    };
    let mut session = mutex.into_inner().map_err(|_| anyhow!("poisoned"))?;
    ensure!(
        session.log.late == 0,
        "{} requests were handed out twice",
        session.log.late
    );
    ensure!(taken >= 40, "only {taken} messages");
    session.unmount(mount)?;
    session.settle()
}

/// Lets `trouble` loose beside readers of all files, with the session served meanwhile.
fn under_load(
    ctx: &Context,
    mut trouble: impl FnMut(&mut Session, &mut Numbers) -> Result<()>,
) -> Result<()> {
    let image = files(40, 4);
    let mut session = ctx.session("hostile", &image)?;
    let mount = session.mount(&ctx.mount_point("hostile"), "fsid=hostile")?;
    let readers: Vec<_> = image
        .files
        .iter()
        .map(|(name, data)| (read_in_background(&mount.file(name)), data))
        .collect();
    let mut numbers = Numbers(0x5eed_0004);
    let end = std::time::Instant::now() + crate::task::soon() * 2;
    while !readers.iter().all(|(task, _)| task.is_done()) {
        ensure!(std::time::Instant::now() < end, "the readers hang");
        if session
            .device
            .wait_readable(Some(Duration::from_millis(10)))?
        {
            session.step()?;
        }
        trouble(&mut session, &mut numbers)?;
    }
    for (reader, data) in readers {
        ensure!(reader.finish()?? == *data, "wrong content");
    }
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn fds_duplicated_and_closed_under_load_do_no_harm(ctx: &Context) -> Result<()> {
    let mut kept = Vec::new();
    under_load(ctx, |session, numbers| {
        for object in session.objects.values() {
            kept.push(rustix::io::fcntl_dupfd_cloexec(&object.fd, 0)?);
        }
        kept.push(rustix::io::fcntl_dupfd_cloexec(&*session.device, 0)?);
        while kept.len() > 20 {
            kept.swap_remove(numbers.below(kept.len()));
        }
        if numbers.below(10) == 0 || session.held.is_empty() {
            kept.clear();
        }
        Ok(())
    })
}

fn objects_closed_under_load_are_reopened(ctx: &Context) -> Result<()> {
    let mut closed = 0;
    under_load(ctx, |session, numbers| {
        if closed < 30 && numbers.below(2) == 0 && !session.objects.is_empty() {
            let ids: Vec<u32> = session.objects.keys().copied().collect();
            session.objects.remove(&ids[numbers.below(ids.len())]);
            closed += 1;
            // What was taken by then and not answered is asked for again.
            session.device.restore()?;
        }
        Ok(())
    })
}

fn fds_closed_while_they_are_handed_out_do_no_harm(ctx: &Context) -> Result<()> {
    let image = files(2, 4);
    let mut session = ctx.session("hostile", &image)?;
    let blobs = ctx.work.join("blobs");
    crate::actor::store_blobs(&blobs, &session.blobs)?;
    let daemon = crate::actor::Actor::daemon(&session.device, &blobs, &["--lose-fds"])?;
    let end = std::time::Instant::now() + Duration::from_secs(4);
    let mut waiting = None;
    while std::time::Instant::now() < end {
        // A mount may succeed, fail, or wait for an answer that the daemon could not give.
        let mount = session.mount_in_background(&ctx.mount_point("hostile"), "fsid=hostile")?;
        while !mount.is_done() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        if !mount.is_done() {
            waiting = Some(mount);
            break;
        }
        if let Ok(mount) = mount.finish()? {
            mount.unmount().finish()??;
        }
    }
    daemon.kill()?;
    session.device.restore()?;
    if let Some(mount) = waiting {
        session.pump_until("mount to return", |_| mount.is_done())?;
        if let Ok(mount) = mount.finish()? {
            session.unmount(mount)?;
        }
    }
    session.settle()?;
    let mount = session.mount(&ctx.mount_point("hostile"), "fsid=hostile")?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn daemon_that_never_answers_holds_up_nobody_who_is_killed(ctx: &Context) -> Result<()> {
    let image = files(8, 2);
    let mut session = ctx.session("hostile", &image)?;
    let mount = session.mount(&ctx.mount_point("hostile"), "fsid=hostile")?;
    session.hold_data("hostile", &image);
    let mut readers = Vec::new();
    for name in image.files.keys() {
        readers.push(crate::actor::Actor::reader(&mount.file(name))?);
    }
    session.pump_until("a READ of each", |session| session.held.len() == 8)?;
    for reader in readers {
        reader.kill()?;
    }
    for read in std::mem::take(&mut session.held) {
        session.answer_read(&read)?;
    }
    ensure!(
        session.log.late == 8,
        "{} of 8 answers came late",
        session.log.late
    );
    session.hold_reads = None;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn mounts_that_come_and_go_under_load_do_no_harm(ctx: &Context) -> Result<()> {
    let image = files(6, 4);
    let mut session = ctx.session("0", &image)?;
    for number in 1..4 {
        session
            .blobs
            .extend(crate::session::blobs_of(&number.to_string(), &image));
    }
    let running = session.run();
    let tasks: Vec<_> = (0..4)
        .map(|number| {
            let point = ctx.mount_point(&number.to_string());
            let image = image.clone();
            Task::start(format!("mounter {number}"), move || -> Result<()> {
                std::fs::create_dir_all(&point)?;
                for round in 0..6 {
                    crate::sys::mount_erofs(&point, format!("fsid={number}").as_bytes())
                        .with_context(|| format!("mount {number} in round {round}"))?;
                    let mount = Mount::at(point.clone());
                    for (name, data) in image.files.iter().take(1 + round) {
                        let seen = std::fs::read(mount.file(name))?;
                        ensure!(seen == *data, "wrong content");
                    }
                    mount.unmount().finish()??;
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.finish_within(crate::task::soon() * 4)??;
    }
    running.stop()?.settle()
}
