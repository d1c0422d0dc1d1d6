// SPDX-License-Identifier: GPL-2.0
//! What debugfs shows of caches, objects and requests.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;

use super::async_reads::ahead::{WINDOW, end, plain};
use super::readahead::endings::with_reader;
use super::restore::{finish, one_read_in_flight, two_blobs};
use crate::context::{Context, TAG, expect_errno};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::share::bind_device;
use crate::sys;
use crate::task::{read_in_background, soon};

const NO_FILES: &str = "the C module shows nothing";

pub const TESTS: &[Test] = &[
    test!(
        request_in_flight_is_shown_with_its_object,
        "an operator sees what the daemon owes to whom"
    )
    .c_skips(NO_FILES),
    test!(
        open_that_waits_for_its_answer_is_shown,
        "a mount that hangs has a reason that can be looked up"
    )
    .c_skips(NO_FILES),
    test!(
        read_ahead_is_shown_as_one_that_nobody_waits_for,
        "what is fetched on the off chance is told from what is urgent"
    )
    .c_skips(NO_FILES)
    .limit(60),
    test!(
        many_requests_are_shown_once_each,
        "a list that is longer than what is read at once goes on where it ended"
    )
    .c_skips(NO_FILES),
    test!(
        lists_are_read_while_all_of_it_changes,
        "those who look on are in nobody's way"
    )
    .c_skips(NO_FILES),
    test!(
        caches_are_shown_until_they_are_gone,
        "what is kept for a mount is told from what has a daemon"
    )
    .c_skips(NO_FILES),
    test!(
        names_of_any_bytes_are_one_word_each,
        "a line can be split at its spaces"
    )
    .c_skips(NO_FILES),
    test!(
        lists_are_for_root_and_keep_the_module_while_they_are_open,
        "nobody runs code that is gone"
    )
    .c_skips(NO_FILES),
];

fn path(name: &str) -> PathBuf {
    Path::new("/sys/kernel/debug/cachefiles").join(name)
}

/// The lines of a list without its header, split at their spaces.
pub(super) fn lines(name: &str) -> Result<Vec<Vec<String>>> {
    let path = path(name);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut lines = text.lines();
    let header = lines.next().context("no header")?;
    let columns = header.strip_prefix("# ").context("no header")?;
    let count = columns.split(' ').count();
    lines
        .map(|line| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            ensure!(words.len() == count, "{count} columns, and: {line}");
            Ok(words)
        })
        .collect()
}

/// The line of the object with this key.
fn object_with_key(key: &str) -> Result<Vec<String>> {
    let found = lines("objects")?.into_iter().find(|line| line[7] == key);
    found.with_context(|| format!("{key} is not shown"))
}

fn request_in_flight_is_shown_with_its_object(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    let read = session.held[0];
    let (shown, object) = (lines("requests")?, object_with_key("blob-a")?);
    ensure!(shown.len() == 1, "one READ is in flight, and: {shown:?}");
    let (off, len) = (read.off.to_string(), read.len.to_string());
    let id = read.msg_id.to_string();
    let number = object[1].clone();
    let expected = [TAG, &id, "READ", "delivered"];
    ensure!(shown[0][..4] == expected, "{:?}", shown[0]);
    let expected = ["1", &number, &off, &len, "erofs,over", "blob-a"];
    ensure!(shown[0][5..] == expected, "{:?}", shown[0]);
    let (object_id, size) = (read.object_id.to_string(), (8 * BLOCK).to_string());
    let expected = [TAG, &number, "open", &object_id, &size, "0"];
    ensure!(object[..6] == expected, "{object:?}");
    // It grows older.
    sys::wait_for("a second", soon(), || {
        let age = |line: &Vec<String>| line[4].parse::<u64>().is_ok_and(|age| age >= 1000);
        lines("requests").is_ok_and(|lines| lines.iter().all(age))
    })?;
    session.answer_held_backwards()?;
    finish(session, mount, &image, reader)?;
    let left = lines("requests")?;
    ensure!(left.is_empty(), "left over: {left:?}");
    Ok(())
}

fn open_that_waits_for_its_answer_is_shown(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session("debugfs", &image)?;
    session.hold_opens = true;
    let mount = session.mount_in_background(&ctx.mount_point("debugfs"), "fsid=debugfs")?;
    session.pump_until("an OPEN", |session| !session.held_opens.is_empty())?;
    let shown = lines("requests")?;
    let id = session.held_opens[0].msg_id.to_string();
    ensure!(shown.len() == 1, "one OPEN is in flight, and: {shown:?}");
    let expected = [TAG, &id, "OPEN", "delivered"];
    ensure!(shown[0][..4] == expected, "{:?}", shown[0]);
    let expected = ["0", "0", "erofs,debugfs", "debugfs"];
    ensure!(shown[0][7..] == expected, "{:?}", shown[0]);
    let object = object_with_key("debugfs")?;
    ensure!(object[2] == "looking-up", "not accepted, and: {object:?}");
    session.hold_opens = false;
    for open in std::mem::take(&mut session.held_opens) {
        session.answer_open(open)?;
    }
    session.pump_until("the mount", |_| mount.is_done())?;
    let mount = mount.finish()??;
    ensure!(object_with_key("debugfs")?[2] == "open", "it was accepted");
    session.unmount(mount)?;
    session.settle()
}

fn read_ahead_is_shown_as_one_that_nobody_waits_for(ctx: &Context) -> Result<()> {
    let image = plain(12);
    let (mut session, mount, reader) = with_reader(ctx, &image)?;
    let shown = lines("requests")?;
    let wanted = WINDOW.to_string();
    let (own, ahead): (Vec<_>, Vec<_>) = shown.iter().partition(|line| line[7] == wanted);
    ensure!(own.len() == 1 && own[0][5] == "1", "{shown:?}");
    let unwanted = |line: &&Vec<String>| line[2] == "AHEAD" && line[5] == "0";
    ensure!(!ahead.is_empty() && ahead.iter().all(unwanted), "{shown:?}");
    session.hold_reads = None;
    session.answer_held_backwards()?;
    session.pump_until("the reader to end", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image.files["file"], "wrong content");
    end(session, mount, &image)
}

/// More READs than one page of lines has.
const MANY: u16 = 150;

fn many_blobs() -> Image {
    let mut builder = Builder::new();
    for number in 1..=MANY {
        builder = builder.device(format!("blob-{number}"));
    }
    for number in 1..=MANY {
        let data = pattern(number.into(), BLOCK);
        builder = builder.chunked(&format!("{number}"), data, 1, &[Some(number)]);
    }
    builder.build()
}

fn many_requests_are_shown_once_each(ctx: &Context) -> Result<()> {
    let image = many_blobs();
    let mut session = ctx.session("debugfs", &image)?;
    let mount = session.mount(&ctx.mount_point("debugfs"), "fsid=debugfs")?;
    session.hold_data("debugfs", &image);
    let readers: Vec<_> = (1..=MANY)
        .map(|number| read_in_background(&mount.file(&number.to_string())))
        .collect();
    let is_full = |held: usize| held == usize::from(MANY);
    session.pump_until("all READs", |session| is_full(session.held.len()))?;
    // Piece by piece, so that each read has to find its way again.
    let mut text = Vec::new();
    let mut file = File::open(path("requests"))?;
    let mut piece = [0; 100];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        text.extend_from_slice(&piece[..count]);
    }
    let pieces = String::from_utf8(text)?;
    let shown = lines("requests")?;
    let names = |lines: &[Vec<String>]| -> Vec<u32> {
        lines.iter().flat_map(|line| line[1].parse()).collect()
    };
    let mut ids: Vec<u32> = session.held.iter().map(|read| read.msg_id).collect();
    ids.sort_unstable();
    ensure!(names(&shown) == ids, "{ids:?}, and: {shown:?}");
    ensure!(
        pieces.lines().count() == ids.len() + 1,
        "in pieces it has {} lines",
        pieces.lines().count()
    );
    let objects: BTreeSet<_> = lines("objects")?
        .into_iter()
        .map(|line| line[7].clone())
        .collect();
    for number in 1..=MANY {
        let key = format!("blob-{number}");
        ensure!(objects.contains(&key), "{key} is not shown: {objects:?}");
    }
    session.hold_reads = None;
    session.answer_held_backwards()?;
    for reader in readers {
        session.pump_until("a reader to finish", |_| reader.is_done())?;
        reader.finish()??;
    }
    session.unmount(mount)?;
    session.settle()
}

fn lists_are_read_while_all_of_it_changes(ctx: &Context) -> Result<()> {
    let image = many_blobs();
    let end = Arc::new(AtomicBool::new(false));
    let watcher = {
        let end = Arc::clone(&end);
        thread::spawn(move || -> Result<u32> {
            let mut count = 0;
            while !end.load(Ordering::Relaxed) {
                for name in ["caches", "objects", "requests"] {
                    count += u32::from(!lines(name)?.is_empty());
                }
                // A file that is open keeps the module, for whose users the rounds wait.
                thread::sleep(Duration::from_millis(30));
            }
            Ok(count)
        })
    };
    let rounds = || -> Result<()> {
        for _ in 0..3 {
            sys::empty_cache()?;
            let mut session = ctx.session("debugfs", &image)?;
            let mount = session.mount(&ctx.mount_point("debugfs"), "fsid=debugfs")?;
            session.check_files(&mount, &image)?;
            session.unmount(mount)?;
            session.settle()?;
            drop(session);
            sys::wait_until_unused(soon())?;
        }
        Ok(())
    };
    let outcome = rounds();
    end.store(true, Ordering::Relaxed);
    let count = watcher.join().expect("the watcher does not panic")?;
    outcome?;
    ensure!(count > 0, "nothing was ever shown");
    Ok(())
}

fn caches_are_shown_until_they_are_gone(ctx: &Context) -> Result<()> {
    ensure!(lines("caches")?.is_empty(), "nothing is bound");
    let image = two_blobs();
    let mut session = ctx.session("debugfs", &image)?;
    let mount = session.mount(&ctx.mount_point("debugfs"), "fsid=debugfs")?;
    let shown = lines("caches")?;
    ensure!(shown == [[TAG, "ondemand", "alive", "0"]], "{shown:?}");
    drop(session);
    let shown = lines("caches")?;
    ensure!(shown == [[TAG, "ondemand", "dead", "0"]], "{shown:?}");
    ensure!(!lines("objects")?.is_empty(), "the image has objects");
    mount.unmount().finish()??;
    sys::wait_for("the cache to go", soon(), || {
        sys::module_references().is_ok_and(|count| count == 0)
    })?;
    for name in ["caches", "objects", "requests"] {
        let shown = lines(name)?;
        ensure!(shown.is_empty(), "{name} has {shown:?}");
    }
    let device = ctx.device()?;
    bind_device(&device, sys::CACHE.as_ref(), TAG)?;
    let shown = lines("caches")?;
    ensure!(shown == [[TAG, "original", "alive", "0"]], "{shown:?}");
    drop(device);
    ensure!(lines("caches")?.is_empty(), "the cache was withdrawn");
    Ok(())
}

fn names_of_any_bytes_are_one_word_each(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let fsid = "a b\\c\u{e4}";
    let mut session = ctx.session(fsid, &image)?;
    let mount = session.mount(&ctx.mount_point("debugfs"), format!("fsid={fsid}"))?;
    let object = object_with_key(r"a\x20b\x5cc\xc3\xa4")?;
    ensure!(object[6] == r"erofs,a\x20b\x5cc\xc3\xa4", "{object:?}");
    session.unmount(mount)?;
    session.settle()
}

fn lists_are_for_root_and_keep_the_module_while_they_are_open(_ctx: &Context) -> Result<()> {
    for name in ["caches", "objects", "requests"] {
        let mode = fs::metadata(path(name))?.permissions().mode() & 0o7777;
        ensure!(mode == 0o400, "{name} has mode {mode:o}");
        let file = File::open(path(name))?;
        expect_errno(sys::remove_module(), Errno::AGAIN, "rmmod")?;
        drop(file);
    }
    sys::wait_until_unused(soon())
}
