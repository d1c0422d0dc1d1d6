// SPDX-License-Identifier: GPL-2.0
//! Readers that want the same: mounts in one domain share a blob, and who needs what another has
//! asked for already waits with it.

use anyhow::{Result, ensure};

use crate::actor::Actor;
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::sys;
use crate::task::{ReadTask, read_in_background, soon};

pub const TESTS: &[Test] = &[
    test!(
        mounts_that_share_a_blob_ask_for_a_range_once,
        "FAULTS 10: a range that is missing is fetched once, whoever wants it"
    )
    .c_fails("each mount sends a READ of its own"),
    test!(
        who_waited_with_another_in_vain_asks_again,
        "FAULTS 10: an answer without data is not taken for one with data"
    ),
    test!(
        killed_reader_takes_nobody_along,
        "FAULTS 10: a READ outlives its reader while others wait for it"
    ),
];

/// The name of the file that all images share.
const FILE: &str = "common";

/// Images with one file, which lies on a blob that they share.
fn images(count: u32) -> Vec<(String, Image)> {
    (0..count)
        .map(|number| {
            let image = Builder::new()
                .device("shared")
                .chunked(FILE, pattern(1, 4 * BLOCK), 4, &[Some(1)])
                .plain("own", pattern(100 + number, BLOCK))
                .build();
            (format!("sharing-{number}"), image)
        })
        .collect()
}

/// All of them mounted in one domain, with the READs of the shared blob held.
fn mounted(ctx: &Context, images: &[(String, Image)]) -> Result<(Session, Vec<Mount>)> {
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    let mut mounts = Vec::new();
    for (fsid, image) in images {
        session.blobs.extend(blobs_of(fsid, image));
        let options = format!("domain_id=domain,fsid={fsid}");
        let mount = session.mount(&ctx.mount_point(fsid), options)?;
        session.look_up(&mount.file(FILE))?;
        mounts.push(mount);
    }
    session.hold_reads = Some(Box::new(|key, _| key == b"shared"));
    session.log = Default::default();
    Ok((session, mounts))
}

/// Starts a reader in each mount, and serves until all wait for a READ that is held.
fn readers_that_wait(session: &mut Session, mounts: &[Mount]) -> Result<Vec<ReadTask>> {
    let readers: Vec<_> = mounts
        .iter()
        .map(|mount| read_in_background(&mount.file(FILE)))
        .collect();
    session.pump_until("all readers to wait", |session| {
        !session.held.is_empty() && readers.iter().all(ReadTask::sleeps)
    })?;
    Ok(readers)
}

fn take_down(mut session: Session, mounts: Vec<Mount>) -> Result<()> {
    for mount in mounts {
        session.unmount(mount)?;
    }
    session.settle()
}

fn mounts_that_share_a_blob_ask_for_a_range_once(ctx: &Context) -> Result<()> {
    let images = images(8);
    let (mut session, mounts) = mounted(ctx, &images)?;
    let readers = readers_that_wait(&mut session, &mounts)?;
    session.hold_reads = None;
    session.answer_held_backwards()?;
    for reader in readers {
        session.pump_until("a reader to finish", |_| reader.is_done())?;
        ensure!(
            reader.finish()?? == images[0].1.files[FILE],
            "wrong content"
        );
    }
    let mut asked: Vec<_> = session
        .log
        .reads
        .iter()
        .map(|read| (read.off, read.len))
        .collect();
    take_down(session, mounts)?;
    let count = asked.len();
    asked.sort_unstable();
    let bytes: u64 = asked.iter().map(|(_, len)| len).sum();
    ensure!(
        bytes == 4 * BLOCK as u64,
        "{count} READs for {bytes} bytes: {asked:?}"
    );
    Ok(())
}

fn who_waited_with_another_in_vain_asks_again(ctx: &Context) -> Result<()> {
    let images = images(2);
    let (mut session, mounts) = mounted(ctx, &images)?;
    let readers = readers_that_wait(&mut session, &mounts)?;
    let first = session.held.remove(0);
    session
        .object(first.object_id)?
        .fd
        .complete_read(first.msg_id)?;
    session.pump_until("another READ", |session| !session.held.is_empty())?;
    ensure!(
        !readers.iter().all(ReadTask::is_done),
        "nobody asks for what did not come"
    );
    session.hold_reads = None;
    session.answer_held_backwards()?;
    for reader in readers {
        session.pump_until("a reader to finish", |_| reader.is_done())?;
        ensure!(
            reader.finish()?? == images[0].1.files[FILE],
            "wrong content"
        );
    }
    take_down(session, mounts)
}

fn killed_reader_takes_nobody_along(ctx: &Context) -> Result<()> {
    let images = images(2);
    let (mut session, mounts) = mounted(ctx, &images)?;
    let first = Actor::reader(&mounts[0].file(FILE))?;
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    let second = read_in_background(&mounts[1].file(FILE));
    sys::wait_for("the second reader to wait", soon(), || second.sleeps())?;
    first.kill()?;
    session.hold_reads = None;
    session.answer_held_backwards()?;
    session.pump_until("the second reader to finish", |_| second.is_done())?;
    ensure!(
        second.finish()?? == images[0].1.files[FILE],
        "wrong content"
    );
    take_down(session, mounts)
}
