// SPDX-License-Identifier: GPL-2.0
//! `straight_reads`: what the daemon writes is copied to the reader that waits for it.
//!
//! Whoever reads sees what the file has, whatever the daemon does; and where it does what daemons
//! do, nothing is read from the file.

pub(super) mod races;
mod scene;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Errno, key_path};

use self::scene::{MANNERS, Scene, reads_of_files, switch_on};
use super::async_reads::ahead::{FSID, WINDOW, end, holding, plain};
use super::failed_reads;
use super::gates::set;
use super::mount::fill_every;
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::lz4::{self, compressible};
use crate::raw;
use crate::registry::{Test, test};
use crate::share::drop_caches;
use crate::sys;

const NO_PARAMETER: &str = "it has no such parameter, and always reads from the disk";

pub const TESTS: &[Test] = &[
    test!(
        what_is_written_goes_straight_to_its_reader,
        "a cold read has no read from the disk, and is off unless asked for"
    )
    .c_skips(NO_PARAMETER)
    .limit(240),
    test!(
        straight_reads_of_what_is_there_in_part_are_right,
        "no page is shown before its data is there"
    )
    .c_skips(NO_PARAMETER)
    .limit(240),
    test!(
        straight_read_that_is_written_twice_is_what_the_file_has,
        "of two writes only the file knows the last"
    )
    .c_skips(NO_PARAMETER)
    .limit(60),
    test!(
        straight_read_takes_nothing_of_a_write_that_fails,
        "what is not in the file is shown to nobody"
    )
    .c_skips(NO_PARAMETER)
    .limit(60),
    test!(
        straight_read_does_not_end_without_all_of_its_data,
        "no zeros in the place of what was not written"
    )
    .c_skips(NO_PARAMETER),
    test!(
        straight_read_copies_what_is_there_and_reads_the_rest,
        "a daemon whose memory is paged out as it writes loses nothing"
    )
    .c_skips(NO_PARAMETER)
    .limit(120),
    test!(
        straight_read_that_two_daemons_serve_reads_from_the_file,
        "the next daemon answers for what the file has"
    )
    .c_skips(NO_PARAMETER),
    test!(
        straight_read_of_what_came_another_way_is_read_from_the_file,
        "a daemon may write to the cache file itself"
    )
    .c_skips(NO_PARAMETER),
    test!(
        read_completed_without_data_fails_in_any_image_with_straight_reads,
        "D1: a failed read is told once"
    )
    .c_skips(NO_PARAMETER)
    .limit(240),
    test!(
        reader_that_is_killed_leaves_any_image_readable_with_straight_reads,
        "D1: a killed reader's reads are told once"
    )
    .c_skips(NO_PARAMETER)
    .limit(240),
    test!(
        refused_reopening_fails_reads_of_any_image_with_straight_reads,
        "D1: what no daemon takes on any more is told once"
    )
    .c_skips(NO_PARAMETER)
    .limit(240),
    test!(
        closed_device_fails_reads_of_any_image_with_straight_reads,
        "D1: what nobody will fetch any more is told once"
    )
    .c_skips(NO_PARAMETER)
    .limit(240),
];

/// An image that is read through its map of compressed extents.
fn compressed() -> Image {
    Builder::new()
        .device("blob")
        .compressed_on(1, "file", compressible(3, 40 * lz4::SPAN * BLOCK))
        .build()
}

fn what_is_written_goes_straight_to_its_reader(ctx: &Context) -> Result<()> {
    let is_on = fs::read_to_string("/sys/module/cachefiles/parameters/straight_reads")?;
    let is_asked_for = fs::read_to_string("/proc/cmdline")?.contains("straight_reads=1");
    ensure!(
        is_on.trim() == if is_asked_for { "Y" } else { "N" },
        "it is {is_on}"
    );
    for (what, image) in [("plain", plain(6)), ("compressed", compressed())] {
        for is_async in MANNERS {
            for is_straight in ["0", "1"] {
                set("async_reads", is_async)?;
                set("straight_reads", is_straight)?;
                let (mut session, mount) = holding(ctx, &image)?;
                session.hold_reads = None;
                session.log.reads.clear();
                let reads = reads_of_files(|| session.check_files(&mount, &image))?;
                let asked = session.log.reads.len();
                ensure!(asked > 0, "nothing was missing");
                let expected = if is_straight == "1" { 0 } else { 1 };
                ensure!(
                    reads.min(1) == expected,
                    "{what}, async_reads={is_async}, straight_reads={is_straight}: {reads} reads \
                     of files, {asked} READs"
                );
                drop_caches()?;
                end(session, mount, &image)?;
                sys::empty_cache()?;
            }
        }
    }
    Ok(())
}

fn straight_reads_of_what_is_there_in_part_are_right(ctx: &Context) -> Result<()> {
    for (what, image) in [("plain", plain(6)), ("compressed", compressed())] {
        for is_async in MANNERS {
            for step in [1, 2, 3, 7, 32] {
                let read = || -> Result<()> {
                    switch_on(is_async)?;
                    let (mut session, mount) = holding(ctx, &image)?;
                    fill_every(&mut session, b"blob", step)?;
                    session.hold_reads = None;
                    session.check_files(&mount, &image)?;
                    drop_caches()?;
                    end(session, mount, &image)
                };
                read().with_context(|| format!("{what}, async_reads={is_async}, {step}"))?;
                sys::empty_cache()?;
            }
        }
    }
    Ok(())
}

fn straight_read_that_is_written_twice_is_what_the_file_has(ctx: &Context) -> Result<()> {
    let half = WINDOW / 2;
    let other = pattern(7, WINDOW);
    for is_async in MANNERS {
        // The whole of it again.
        let mut scene = Scene::new(ctx, is_async)?;
        scene.write(&other, 0)?;
        scene.write(&scene.right(), 0)?;
        scene.expect(&scene.right(), "written twice")?;
        scene.close()?;

        // One page of it, at the beginning, in the middle, at the end.
        for page in [0, 5, WINDOW / BLOCK - 1] {
            let at = page * BLOCK;
            let mut scene = Scene::new(ctx, is_async)?;
            scene.write(&scene.right(), 0)?;
            scene.write(&other[at..at + BLOCK], at)?;
            let mut expected = scene.right();
            expected[at..at + BLOCK].copy_from_slice(&other[at..at + BLOCK]);
            scene.expect(&expected, &format!("page {page} written twice"))?;
            scene.close()?;
        }

        // Two halves that overlap by a page.
        let mut scene = Scene::new(ctx, is_async)?;
        let right = scene.right();
        scene.write(&other[..half + BLOCK], 0)?;
        scene.write(&right[half..], half)?;
        let expected = [&other[..half], &right[half..]].concat();
        scene.expect(&expected, "halves that overlap")?;
        scene.close()?;

        // From the back to the front, which is not followed.
        let mut scene = Scene::new(ctx, is_async)?;
        scene.write(&right[half..], half)?;
        scene.write(&right[..half], 0)?;
        let reads = scene.expect(&right, "from the back")?;
        ensure!(reads > 0, "from the back: nothing was read");
        scene.close()?;

        // And in pieces, which is.
        let mut scene = Scene::new(ctx, is_async)?;
        for at in (0..WINDOW).step_by(4 * BLOCK) {
            scene.write(&right[at..at + 4 * BLOCK], at)?;
        }
        let reads = scene.expect(&right, "in pieces")?;
        ensure!(reads == 0, "in pieces: {reads} reads");
        scene.close()?;
    }
    Ok(())
}

fn straight_read_takes_nothing_of_a_write_that_fails(ctx: &Context) -> Result<()> {
    for is_async in MANNERS {
        for pages in [0, 1, 5] {
            let mut scene = Scene::new(ctx, is_async)?;
            let right = scene.right();
            let other = pattern(7, WINDOW);
            // It goes on behind what is mapped: a part is written, or nothing at all.
            let (fd, off) = (scene.fd()?, scene.read.off);
            let written = raw::write_past_mapping(&fd, &other[..pages * BLOCK], off);
            drop(fd);
            ensure!(
                written == Err(Errno::FAULT) || written.is_ok_and(|len| len <= pages * BLOCK),
                "{pages} pages, and one that is not there: {written:?}"
            );
            // Whatever the file has of it: then all is written as it should be.
            scene.write(&right, 0)?;
            scene.expect(&right, "after a write that failed")?;
            scene.close()?;

            // And only what had failed.
            let mut scene = Scene::new(ctx, is_async)?;
            let (fd, off) = (scene.fd()?, scene.read.off);
            let written = raw::write_past_mapping(&fd, &right[..pages * BLOCK], off);
            drop(fd);
            let done = written.unwrap_or(0) / BLOCK * BLOCK;
            scene.write(&right[done..], done)?;
            scene.expect(&right, "after the rest of it")?;
            scene.close()?;
        }
    }
    Ok(())
}

fn straight_read_does_not_end_without_all_of_its_data(ctx: &Context) -> Result<()> {
    for (is_async, pages) in [("0", 0), ("0", 1), ("0", 31), ("1", 0), ("1", 1), ("1", 31)] {
        let mut scene = Scene::new(ctx, is_async)?;
        let right = scene.right();
        if pages > 0 {
            scene.write(&right[..pages * BLOCK], 0)?;
        }
        let object = scene.session.object(scene.read.object_id)?;
        object.fd.complete_read(scene.read.msg_id)?;
        // Readahead is lost, and whoever reads asks for what is missing.
        scene.session.hold_reads = None;
        let seen = scene.session.read_file(&scene.mount.file("file"))?;
        ensure!(seen == right, "{pages} pages, async_reads={is_async}");
        scene.close()?;
    }
    Ok(())
}

fn straight_read_copies_what_is_there_and_reads_the_rest(ctx: &Context) -> Result<()> {
    let mut read_back = 0;
    for round in 0..20 {
        let mut scene = Scene::new(ctx, MANNERS[round % 2])?;
        let right = scene.right();
        let (fd, off) = (scene.fd()?, scene.read.off);
        let written = raw::write_from_fleeting(&fd, &right, off)?;
        drop(fd);
        scene.write(&right[written..], written)?;
        read_back += scene.expect(&right, "from memory that goes")?.min(1);
        scene.close()?;
    }
    println!("# {read_back} of 20 were read from the file");
    Ok(())
}

fn straight_read_that_two_daemons_serve_reads_from_the_file(ctx: &Context) -> Result<()> {
    for is_async in MANNERS {
        let mut scene = Scene::new(ctx, is_async)?;
        scene.write(&scene.right(), 0)?;
        scene.session.crash();
        let session = &mut scene.session;
        session.pump_until("the READ again", |session| !session.held.is_empty())?;
        scene.read = session.held.remove(0);
        let reads = scene.expect(&scene.right(), "after a crash")?;
        ensure!(reads > 0, "the copy of the daemon before was taken");
        scene.close()?;
    }
    Ok(())
}

fn straight_read_of_what_came_another_way_is_read_from_the_file(ctx: &Context) -> Result<()> {
    for is_async in MANNERS {
        let mut scene = Scene::new(ctx, is_async)?;
        let right = scene.right();
        let key = key_path(format!("erofs,{FSID}").as_bytes(), b"blob");
        let file = fs::File::options()
            .write(true)
            .open(Path::new(sys::CACHE).join(key))?;
        file.write_all_at(&right, scene.read.off)?;
        file.sync_all()?;
        let reads = scene.expect(&right, "written to the file itself")?;
        ensure!(reads > 0, "nothing was read");
        scene.close()?;
    }
    Ok(())
}

fn read_completed_without_data_fails_in_any_image_with_straight_reads(ctx: &Context) -> Result<()> {
    switch_on("0")?;
    failed_reads::read_completed_without_data_fails_in_any_image(ctx)
}

fn reader_that_is_killed_leaves_any_image_readable_with_straight_reads(
    ctx: &Context,
) -> Result<()> {
    switch_on("0")?;
    failed_reads::killed_reader_leaves_its_reads_to_the_daemon(ctx)
}

fn refused_reopening_fails_reads_of_any_image_with_straight_reads(ctx: &Context) -> Result<()> {
    switch_on("0")?;
    failed_reads::refused_reopening_fails_reads_of_any_image(ctx)
}

fn closed_device_fails_reads_of_any_image_with_straight_reads(ctx: &Context) -> Result<()> {
    switch_on("0")?;
    failed_reads::closed_device_fails_reads_of_any_image(ctx)
}
