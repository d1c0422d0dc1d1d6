// SPDX-License-Identifier: GPL-2.0
//! READ and its completion: the message, its order, and readers that leave.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Errno, Read, WireMessage};

use crate::actor::Actor;
use crate::context::{Context, expect_errno};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::{Mount, Session};
use crate::sys;
use crate::task::{ReadTask, Task, read_in_background};

pub const TESTS: &[Test] = &[
    test!(
        read_carries_a_page_aligned_range_of_an_open_object,
        "the layout of READ"
    ),
    test!(
        open_that_does_not_fit_does_not_hold_up_reads,
        "a buffer that is too small for one message is good for another"
    )
    .c_fails("the read fails with EMSGSIZE each time"),
    test!(reads_are_answered_in_any_order, "answers need no order"),
    test!(
        reads_are_handed_out_in_the_order_they_came,
        "no reader starves"
    ),
    test!(
        completing_a_read_without_data_fails_it_with_eio,
        "FAULTS 10: a reader never gets data that was not fetched"
    ),
    test!(
        half_written_read_is_asked_again_for_the_rest,
        "a reader never gets half of its data"
    ),
    test!(data_written_ahead_needs_no_read, "a daemon may fetch ahead"),
    test!(
        reader_killed_while_waiting_dies_and_its_read_is_gone,
        "CVE-2024-39510: no reader is stuck on a daemon"
    ),
    test!(
        reader_of_a_read_nobody_took_can_be_killed,
        "no reader is stuck on a daemon that does not read"
    ),
    test!(
        many_readers_of_one_object_are_all_served,
        "concurrent READs of one object"
    ),
    test!(
        closing_the_device_fails_delivered_reads,
        "CVE-2024-40900, CVE-2024-40935: no reader waits for a daemon that is gone"
    ),
];

pub(super) const FSID: &str = "reads";

/// Two data blobs, each with a file of its own that is not read ahead into another.
pub(super) fn two_blobs() -> Image {
    Builder::new()
        .device("blob-a")
        .device("blob-b")
        .chunked("a", pattern(1, 2 * BLOCK), 2, &[Some(1)])
        .chunked("b", pattern(2, 2 * BLOCK), 2, &[Some(2)])
        .build()
}

/// A mounted image whose data READs are held.
pub(super) fn holding(ctx: &Context, image: &Image) -> Result<(Session, Mount)> {
    let mut session = ctx.session(FSID, image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.hold_data(FSID, image);
    Ok((session, mount))
}

/// Starts to read `a` and `b`, and waits for a READ of each, in this order.
pub(super) fn read_both(session: &mut Session, mount: &Mount) -> Result<[(ReadTask, Read); 2]> {
    let mut start = |name: &str, count: usize| -> Result<(ReadTask, Read)> {
        let reader = read_in_background(&mount.file(name));
        session.pump_until("a READ", |session| session.held.len() == count)?;
        let read = *session.held.last().context("no READ")?;
        Ok((reader, read))
    };
    Ok([start("a", 1)?, start("b", 2)?])
}

pub(super) fn finish_both(
    mut session: Session,
    mount: Mount,
    image: &Image,
    readers: [ReadTask; 2],
) -> Result<()> {
    session.hold_reads = None;
    session.answer_held_backwards()?;
    for (reader, name) in readers.into_iter().zip(["a", "b"]) {
        session.pump_until("a reader to finish", |_| reader.is_done())?;
        ensure!(
            reader.finish()?? == image.files[name],
            "{name}: wrong content"
        );
    }
    session.unmount(mount)?;
    session.settle()
}

fn open_that_does_not_fit_does_not_hold_up_reads(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session(FSID, &image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.look_up(&mount.file("a"))?;
    let opener = session.mount_in_background(&ctx.mount_point("long"), "fsid=a-long-name")?;
    ensure!(
        session.device.wait_readable(Some(crate::task::soon()))?,
        "no OPEN"
    );
    let reader = read_in_background(&mount.file("a"));
    sys::wait_for("the reader to wait", crate::task::soon(), || {
        reader.sleeps()
    })?;
    // Room for a READ. Once round, each message is met.
    let mut bytes = [0; 32];
    let mut results = Vec::new();
    for _ in 0..2 {
        results.push(rustix::io::read(&*session.device, &mut bytes));
    }
    ensure!(
        results.contains(&Ok(32)) && results.contains(&Err(Errno::MSGSIZE)),
        "the reads gave {results:?}"
    );
    let WireMessage::Read(read) = WireMessage::try_from(&bytes[..])? else {
        anyhow::bail!("no READ");
    };
    session.answer_read(&read)?;
    session.pump_until("the mount to fail", |_| opener.is_done())?;
    ensure!(opener.finish()?.is_err(), "there is no such image");
    session.pump_until("the reader", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image.files["a"], "wrong content");
    session.unmount(mount)?;
    session.settle()
}

fn read_carries_a_page_aligned_range_of_an_open_object(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session(FSID, &image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let reader = read_in_background(&mount.file("a"));
    // The metadata may be read first: take messages raw until one concerns the data.
    let object = session.object_of(b"blob-a")?.0;
    loop {
        ensure!(
            session.device.wait_readable(Some(crate::task::soon()))?,
            "no READ"
        );
        let mut bytes = [0xee; 1024];
        let length = rustix::io::read(&*session.device, &mut bytes)?;
        ensure!(length == 32, "a READ of {length} bytes");
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
        let long = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        ensure!(word(4) == 2, "opcode {}", word(4));
        ensure!(word(8) == 32, "length {}", word(8));
        let read = Read {
            msg_id: word(0),
            object_id: word(12),
            off: long(16),
            len: long(24),
        };
        session.answer_read(&read)?;
        if word(12) == object {
            ensure!(
                long(16) == 0 && long(24) == 2 * BLOCK as u64,
                "range {}+{}",
                long(16),
                long(24)
            );
            break;
        }
    }
    session.pump_until("the reader to finish", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image.files["a"], "wrong content");
    session.unmount(mount)
}

fn reads_are_answered_in_any_order(ctx: &Context) -> Result<()> {
    let mut builder = Builder::new();
    for number in 0..16 {
        builder = builder.plain(&format!("file-{number:02}"), pattern(number, 2 * BLOCK));
    }
    let image = builder.build();
    let (mut session, mount) = holding(ctx, &image)?;
    let readers: Vec<_> = image
        .files
        .iter()
        .map(|(name, data)| (read_in_background(&mount.file(name)), data))
        .collect();
    session.pump_until("all READs", |session| {
        session.held.len() == image.files.len()
    })?;
    session.answer_held_backwards()?;
    for (reader, data) in readers {
        ensure!(reader.finish()?? == *data, "wrong content");
    }
    session.unmount(mount)
}

fn reads_are_handed_out_in_the_order_they_came(ctx: &Context) -> Result<()> {
    let mut builder = Builder::new();
    for number in 0..8 {
        builder = builder.plain(&format!("file-{number}"), pattern(number, BLOCK));
    }
    let image = builder.build();
    let (mut session, mount) = holding(ctx, &image)?;
    // Looks up all names first, so that nothing but the data is missing.
    for name in image.files.keys() {
        let path = mount.file(name);
        let task = Task::start("stat", move || std::fs::metadata(path).map(drop));
        session.pump_until("a stat", |_| task.is_done())?;
        task.finish()??;
    }
    let start = |name: &String| {
        let reader = read_in_background(&mount.file(name));
        // The next one starts when this one surely waits.
        std::thread::sleep(Duration::from_millis(150));
        reader
    };
    let readers: Vec<_> = image.files.keys().map(start).collect();
    session.pump_until("all READs", |session| session.held.len() == readers.len())?;
    let offsets: Vec<_> = session.held.iter().map(|read| read.off).collect();
    ensure!(offsets.is_sorted(), "READs came in the order {offsets:?}");
    session.answer_held_backwards()?;
    for (reader, data) in readers.into_iter().zip(image.files.values()) {
        ensure!(reader.finish()?? == *data, "wrong content");
    }
    session.unmount(mount)
}

fn completing_a_read_without_data_fails_it_with_eio(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = holding(ctx, &image)?;
    session.log = Default::default();
    let reader = read_in_background(&mount.file("a"));
    // The kernel may try again page by page: none of it is ever written.
    while !reader.is_done() {
        session.pump_until("a READ or the end", |session| {
            !session.held.is_empty() || reader.is_done()
        })?;
        for read in std::mem::take(&mut session.held) {
            session
                .object(read.object_id)?
                .fd
                .complete_read(read.msg_id)?;
        }
    }
    crate::context::expect_io_errno(reader.finish()?, Errno::IO, "the reader")?;
    // Once ahead, and once for itself: the module adds no try of its own.
    let id = session.object_of(b"blob-a")?.0;
    let reads = session.log.reads.iter();
    let count = reads.filter(|read| read.object_id == id).count();
    ensure!(count <= 2, "READs: {:?}", session.log.reads);
    session.hold_reads = None;
    session
        .check_files(&mount, &image)
        .context("once it is served properly")?;
    session.unmount(mount)
}

fn half_written_read_is_asked_again_for_the_rest(ctx: &Context) -> Result<()> {
    let image = Builder::new()
        .device("blob")
        .chunked("a", pattern(1, 8 * BLOCK), 8, &[Some(1)])
        .build();
    let (mut session, mount) = holding(ctx, &image)?;
    let reader = read_in_background(&mount.file("a"));
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    let read = session.held.remove(0);
    ensure!(
        read.len >= 2 * BLOCK as u64,
        "a READ of {} bytes cannot be halved",
        read.len
    );
    session.fill(read.object_id, read.off, BLOCK as u64)?;
    session
        .object(read.object_id)?
        .fd
        .complete_read(read.msg_id)?;
    session.hold_reads = None;
    session.pump_until("the reader to finish", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image.files["a"], "wrong content");
    session.unmount(mount)
}

fn data_written_ahead_needs_no_read(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session(FSID, &image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    for key in [b"blob-a", b"blob-b"] {
        let object = session.object_of(key)?.0;
        session.fill(object, 0, 2 * BLOCK as u64)?;
        session.log = Default::default();
        session.check_files(&mount, &image)?;
        let asked = session
            .log
            .reads
            .iter()
            .any(|read| read.object_id == object);
        ensure!(!asked, "data that was written ahead is asked for");
    }
    session.unmount(mount)
}

fn reader_killed_while_waiting_dies_and_its_read_is_gone(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = holding(ctx, &image)?;
    let mut reader = Actor::reader(&mount.file("a"))?;
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    ensure!(!reader.ended()?, "the reader did not wait");
    reader.kill()?;
    let read = session.held.remove(0);
    let late = session
        .object(read.object_id)?
        .fd
        .complete_read(read.msg_id);
    expect_errno(late, Errno::INVAL, "cread after the reader died")?;
    session.hold_reads = None;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn reader_of_a_read_nobody_took_can_be_killed(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = holding(ctx, &image)?;
    let reader = Actor::reader(&mount.file("a"))?;
    // Takes what is metadata; the READ of the data stays in the kernel.
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    session.held.clear();
    let second = Actor::reader(&mount.file("b"))?;
    std::thread::sleep(Duration::from_millis(300));
    second.kill()?;
    reader.kill()?;
    session.hold_reads = None;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn many_readers_of_one_object_are_all_served(ctx: &Context) -> Result<()> {
    let mut builder = Builder::new().device("many");
    for number in 0..48 {
        builder = builder.chunked(
            &format!("{number:02}"),
            pattern(number, 3 * BLOCK + 9),
            4,
            &[Some(1)],
        );
    }
    let image = builder.build();
    let mut session = ctx.session(FSID, &image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let readers: Vec<_> = image
        .files
        .iter()
        .map(|(name, data)| (read_in_background(&mount.file(name)), data))
        .collect();
    session.pump_until("all readers", |_| {
        readers.iter().all(|(task, _)| task.is_done())
    })?;
    for (reader, data) in readers {
        ensure!(reader.finish()?? == *data, "wrong content");
    }
    ensure!(
        session.log.late == 0,
        "{} answers came late",
        session.log.late
    );
    session.unmount(mount)
}

fn closing_the_device_fails_delivered_reads(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = holding(ctx, &image)?;
    let [(a, _), (b, _)] = read_both(&mut session, &mount)?;
    drop(session);
    // EIO where the READ was failed, ENOBUFS where the next finds the cache gone.
    for reader in [a, b] {
        ensure!(
            reader.finish()?.is_err(),
            "a read that nobody answered succeeded"
        );
    }
    mount.unmount().finish()?
}
