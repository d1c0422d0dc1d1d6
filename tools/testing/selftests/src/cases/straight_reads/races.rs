// SPDX-License-Identifier: GPL-2.0
//! Straight reads while others write, die, or are many.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::key_path;

use super::NO_PARAMETER;
use super::scene::{MANNERS, Scene, aligned, reads_of_files, switch_on};
use crate::actor::Actor;
use crate::cases::async_reads::ahead::{FSID, WINDOW, end, holding, plain};
use crate::cases::original::frozen::Frozen;
use crate::context::Context;
use crate::image::{BLOCK, pattern};
use crate::registry::{Test, test};
use crate::session::Session;
use crate::sys;
use crate::task::{Task, soon};

/// How many reads of a cache may be straight at a time.
const PLACES: usize = 64;

pub const TESTS: &[Test] = &[
    test!(
        straight_reads_and_two_threads_that_write_agree_with_the_file,
        "two threads that fetch the same leave one version of it"
    )
    .c_skips(NO_PARAMETER)
    .limit(120),
    test!(
        straight_read_of_a_killed_reader_touches_nothing,
        "the memory of a reader that is gone is not written to"
    )
    .c_skips(NO_PARAMETER)
    .limit(120),
    test!(
        many_straight_reads_at_a_time_are_right,
        "who finds no place reads from the disk"
    )
    .c_skips(NO_PARAMETER)
    .limit(120),
    test!(
        straight_read_of_a_killed_reader_leaves_its_pages_alone,
        "what the next reader has read stays as it is"
    )
    .c_skips(NO_PARAMETER),
    test!(
        straight_read_takes_nothing_of_a_write_that_had_begun,
        "of what came before the reader only the file knows"
    )
    .c_skips(NO_PARAMETER),
];

fn straight_reads_and_two_threads_that_write_agree_with_the_file(ctx: &Context) -> Result<()> {
    let mut straight = 0;
    for round in 0..24 {
        let mut scene = Scene::new(ctx, MANNERS[round % 2])?;
        let start = Barrier::new(2);
        // All of it from both, or half of it from each.
        let (first, second) = match round % 4 {
            0 | 1 => ((0, WINDOW), (0, WINDOW)),
            _ => ((0, WINDOW / 2), (WINDOW / 2, WINDOW)),
        };
        std::thread::scope(|scope| -> Result<()> {
            let threads = [(1, first), (2, second)].map(|(seed, (from, to))| {
                let (fd, off, start) = (scene.fd(), scene.read.off, &start);
                scope.spawn(move || -> Result<()> {
                    let data = pattern(seed + 40, WINDOW);
                    let data = aligned(&data[from..to]);
                    start.wait();
                    let written = rustix::io::pwrite(fd?, &data, off + from as u64)?;
                    ensure!(written == to - from, "{written} bytes");
                    Ok(())
                })
            });
            for thread in threads {
                thread.join().expect("a thread")?;
            }
            Ok(())
        })?;
        let (seen, again, reads) = scene.answered()?;
        ensure!(seen == again, "round {round}: reader and file differ");
        straight += usize::from(reads == 0);
        scene.close()?;
    }
    println!("# {straight} of 24 were not read from the file");
    Ok(())
}

fn straight_read_of_a_killed_reader_touches_nothing(ctx: &Context) -> Result<()> {
    for round in 0..12_u64 {
        switch_on("0")?;
        let image = plain(1);
        let (mut session, mount) = holding(ctx, &image)?;
        let path = mount.file("file");
        let reader = Actor::reader(&path)?;
        session.pump_until("a READ", |session| !session.held.is_empty())?;
        let read = session.held.remove(0);
        let fd = session
            .object(read.object_id)?
            .fd
            .as_fd()
            .try_clone_to_owned()?;
        let blob = session.blobs[b"blob".as_slice()].clone();
        let from = usize::try_from(read.off)?;
        let data = aligned(&blob[from..from + usize::try_from(read.len)?]);
        // It dies before the write, in it, or after it.
        let writer = Task::start("writing", move || -> Result<()> {
            std::thread::sleep(Duration::from_micros(round * 150));
            rustix::io::pwrite(&fd, &data, read.off)?;
            Ok(())
        });
        reader.kill()?;
        session.pump_until("the write", |_| writer.is_done())?;
        writer.finish()??;
        session.hold_reads = None;
        session.held.clear();
        end(session, mount, &image).with_context(|| format!("round {round}"))?;
        sys::empty_cache()?;
    }
    Ok(())
}

fn many_straight_reads_at_a_time_are_right(ctx: &Context) -> Result<()> {
    // The content does not matter much, but pages differ.
    let windows = 100;
    let image = plain(windows);
    for is_async in MANNERS {
        switch_on(is_async)?;
        let (mut session, mount) = holding(ctx, &image)?;
        let path = mount.file("file");
        let expected = &image.files["file"];
        let readers = (0..windows).map(|window| read_one_page(&path, window * WINDOW));
        let readers: Vec<_> = readers.collect();
        session.pump_until("all READs", |session| session.held.len() >= windows)?;
        let reads = reads_of_files(|| {
            session.hold_reads = None;
            session.answer_held_backwards()?;
            session.pump_until("the readers to end", |_| readers.iter().all(Task::is_done))
        })?;
        for (window, reader) in readers.into_iter().enumerate() {
            let at = window * WINDOW;
            let seen = reader.finish()??;
            ensure!(seen == expected[at..at + BLOCK], "window {window} is wrong");
        }
        ensure!(
            (windows - PLACES..windows).contains(&reads),
            "async_reads={is_async}: {reads} reads of the file, with {windows} readers"
        );
        end(session, mount, &image)?;
        sys::empty_cache()?;

        // One after the other, all of them find a place.
        let (mut session, mount) = holding(ctx, &image)?;
        session.hold_reads = None;
        let reads = reads_of_files(|| session.check_files(&mount, &image))?;
        ensure!(
            reads == 0,
            "async_reads={is_async}: {reads} reads of the file, one after the other"
        );
        end(session, mount, &image)?;
        sys::empty_cache()?;
    }
    Ok(())
}

fn read_one_page(path: &Path, at: usize) -> Task<Result<Vec<u8>>> {
    let path = path.to_owned();
    Task::start("reading a page", move || {
        let file = fs::File::open(path)?;
        let mut page = vec![0; BLOCK];
        file.read_exact_at(&mut page, at as u64)?;
        Ok(page)
    })
}

fn straight_read_of_a_killed_reader_leaves_its_pages_alone(ctx: &Context) -> Result<()> {
    switch_on("0")?;
    let image = plain(1);
    let (mut session, mount) = holding(ctx, &image)?;
    let path = mount.file("file");
    let right = image.files["file"].clone();
    let reader = Actor::reader(&path)?;
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    reader.kill()?;
    let window = session.held.remove(0);
    // The next one waits for the same pages, and finds them in the file.
    let reader = read_one_page(&path, 0);
    session.pump_until("the next READ", |session| !session.held.is_empty())?;
    let read = session.held.remove(0);
    let key = key_path(format!("erofs,{FSID}").as_bytes(), b"blob");
    let file = fs::File::options()
        .write(true)
        .open(Path::new(sys::CACHE).join(key))?;
    file.write_all_at(&right, window.off)?;
    file.sync_all()?;
    let object = session.object(read.object_id)?;
    object.fd.complete_read(read.msg_id)?;
    session.pump_until("the reader to end", |_| reader.is_done())?;
    reader.finish()??;
    session.hold_reads = None;
    ensure!(session.read_file(&path)? == right, "it was read wrong");
    // That these pages were once the other one's is of no account any more.
    let write = |session: &Session, data: &[u8]| -> Result<()> {
        let object = session.object(read.object_id)?;
        Ok(object.fd.write_at(&aligned(data), window.off)?)
    };
    write(&session, &pattern(7, WINDOW))?;
    ensure!(
        session.read_file(&path)? == right,
        "pages of the page cache were written to"
    );
    write(&session, &right)?;
    end(session, mount, &image)
}

fn straight_read_takes_nothing_of_a_write_that_had_begun(ctx: &Context) -> Result<()> {
    for is_async in MANNERS {
        switch_on(is_async)?;
        let image = plain(2);
        let (mut session, mount) = holding(ctx, &image)?;
        let path = mount.file("file");
        // Somebody waits elsewhere, so that writes have to look for readers at all.
        let other = read_one_page(&path, WINDOW);
        session.pump_until("the other READ", |session| !session.held.is_empty())?;
        let (_, object) = session.object_of(b"blob")?;
        let fd = object.fd.as_fd().try_clone_to_owned()?;
        // The write stands at its beginning as long as the file system is frozen.
        let frozen = Frozen::new()?;
        let data = aligned(&image.files["file"][..WINDOW]);
        let writer = Task::start("writing", move || -> Result<()> {
            rustix::io::pwrite(&fd, &data, 0)?;
            Ok(())
        });
        sys::wait_for("the writer to wait", soon(), || writer.sleeps())?;
        let reader = read_one_page(&path, 0);
        session.pump_until("the READ", |session| session.held.len() > 1)?;
        let read = session.held.remove(1);
        ensure!(read.off == 0, "a READ of {}", read.off);
        drop(frozen);
        session.pump_until("the write", |_| writer.is_done())?;
        writer.finish()??;
        let reads = reads_of_files(|| {
            let object = session.object(read.object_id)?;
            object.fd.complete_read(read.msg_id)?;
            session.pump_until("the reader to end", |_| reader.is_done())
        })?;
        reader.finish()??;
        ensure!(reads > 0, "async_reads={is_async}: the file was not read");
        session.answer_held_backwards()?;
        session.pump_until("the other reader to end", |_| other.is_done())?;
        other.finish()??;
        end(session, mount, &image)?;
        sys::empty_cache()?;
    }
    Ok(())
}
