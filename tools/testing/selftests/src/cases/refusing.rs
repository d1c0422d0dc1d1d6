// SPDX-License-Identifier: GPL-2.0
//! Daemons of several threads that refuse: who closes an OPEN's fd and says so then, and who never
//! does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Device, Errno, MAX_MESSAGE_SIZE, Message};

use crate::context::{Context, expect_no_cache};
use crate::image::{BLOCK, Builder, pattern};
use crate::registry::{Test, test};
use crate::session::Session;
use crate::task::{Task, soon};

pub const TESTS: &[Test] = &[
    test!(
        refused_open_reaches_one_thread_of_the_daemon,
        "D23: an OPEN whose fd was closed waits for its refusal"
    )
    .limit(60),
    test!(
        open_whose_fd_is_closed_without_an_answer_comes_back,
        "D23: an opener does not wait for ever for an answer that nobody gives"
    )
    .c_fails("only `restore` brings it back"),
];

/// Threads of the daemon.
const THREADS: usize = 4;
/// Mounts of images that it does not know.
const MOUNTS: usize = 20;

#[derive(Default)]
struct Counts {
    opens: AtomicUsize,
    late: AtomicUsize,
    end: AtomicBool,
}

/// A thread that closes what it is given, and refuses it a moment later.
fn refuse(device: &Device, counts: &Counts) -> Result<()> {
    let mut buffer = vec![0; MAX_MESSAGE_SIZE];
    while !counts.end.load(Ordering::SeqCst) {
        if !device.wait_readable(Some(Duration::from_millis(50)))? {
            continue;
        }
        let Some(Message::Open(open)) = device.read_message(&mut buffer)? else {
            continue;
        };
        counts.opens.fetch_add(1, Ordering::SeqCst);
        let id = open.msg_id;
        drop(open.fd);
        // The others are awake and look for work.
        std::thread::sleep(Duration::from_millis(5));
        match device.copen(id, Err(Errno::NOENT)) {
            Ok(()) => {}
            Err(Errno::INVAL) => {
                counts.late.fetch_add(1, Ordering::SeqCst);
            }
            Err(errno) => return Err(errno).context("copen"),
        }
    }
    Ok(())
}

fn refused_open_reaches_one_thread_of_the_daemon(ctx: &Context) -> Result<()> {
    let device = ctx.bound_device()?;
    let counts = Arc::new(Counts::default());
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (device, counts) = (device.clone(), counts.clone());
            Task::start(format!("thread {number}"), move || refuse(&device, &counts))
        })
        .collect();
    let session = Session::new(device, Default::default());
    for number in 0..MOUNTS {
        let name = format!("unknown-{number}");
        let mount = session.mount_in_background(&ctx.mount_point(&name), format!("fsid={name}"))?;
        expect_no_cache(mount.finish()?, "mount of a blob that is not there")?;
    }
    counts.end.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.finish()??;
    }
    let (opens, late) = (
        counts.opens.load(Ordering::SeqCst),
        counts.late.load(Ordering::SeqCst),
    );
    ensure!(
        (opens, late) == (MOUNTS, 0),
        "{MOUNTS} mounts gave {opens} OPENs, and {late} answers were refused"
    );
    Ok(())
}

fn open_whose_fd_is_closed_without_an_answer_comes_back(ctx: &Context) -> Result<()> {
    let image = Builder::new().plain("file", pattern(1, BLOCK)).build();
    let mut session = ctx.session("dropped", &image)?;
    session.hold_opens = true;
    let mount = session.mount_in_background(&ctx.mount_point("dropped"), "fsid=dropped")?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    session.held_opens.clear();
    ensure!(
        !session
            .device
            .wait_readable(Some(Duration::from_millis(500)))?,
        "it came back while its answer might have been on its way"
    );
    session.hold_opens = false;
    ensure!(
        session.device.wait_readable(Some(soon()))?,
        "the OPEN does not come back"
    );
    session.pump_until("mount to return", |_| mount.is_done())?;
    let mount = mount.finish()?.context("mount")?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)
}
