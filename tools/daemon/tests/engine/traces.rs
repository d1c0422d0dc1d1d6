// SPDX-License-Identifier: GPL-2.0
//! What is recorded of READs, and what is fetched before there is a READ.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cachefiles_daemon::serve::{TraceArgs, Traces};
use cachefiles_protocol::{Close, Message};

use super::blob;
use super::kernel::{CORRUPT, Kernel, cache_file};

const UNIT: u64 = 16_384;

fn recording(path: &Path) -> Traces {
    let args = TraceArgs {
        record: Some(path.to_owned()),
        prefetch: None,
    };
    args.open().unwrap()
}

fn wanting(text: &str) -> Traces {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let args = TraceArgs {
        prefetch: Some(file.path().to_owned()),
        record: None,
    };
    args.open().unwrap()
}

/// How many ranges were read of the source.
fn fetched(kernel: &Kernel) -> usize {
    kernel.read.lock().unwrap().len()
}

#[test]
fn reads_are_recorded_once_in_their_order_and_as_they_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace");
    let blobs = [(&b"a b"[..], blob(100_000)), (b"c", blob(8192))];
    let kernel = Kernel::tracing(&blobs, UNIT, recording(&path));
    kernel.open(1, 5, b"a b", cache_file().1);
    kernel.open(2, 6, b"c", cache_file().1);
    // It is tried three times, as completing it needs the kernel.
    kernel.read(10, 5, 65_536, 4096);
    kernel.read(11, 5, 0, 4096);
    kernel.read(12, 5, 4096, 8192);
    kernel.read(13, 6, 4096, 4096);
    // A READ that is delivered again before it is served.
    let first = kernel.start_read_at(15, 6, 0);
    let again = kernel.start_read_at(15, 6, 0);
    for served in [first, again] {
        kernel.runtime().block_on(served).unwrap().unwrap();
    }
    kernel.engine.keep_house();
    let wanted = "a%20b 65536 4096\na%20b 0 12288\nc 4096 4096\nc 0 4096\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), wanted);
}

#[test]
fn what_is_wanted_is_fetched_when_its_blob_is_opened_and_nothing_else() {
    let bytes = blob(100_000);
    let traces = wanting("a 70000 10\na 20000 1\na 98304 999999\nother 0 4096\n");
    let blobs = [(&b"a"[..], bytes.clone()), (b"b", blob(50_000))];
    let kernel = Kernel::tracing(&blobs, UNIT, traces);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    kernel.open(2, 6, b"b", cache_file().1);
    kernel.let_run("three ranges", || fetched(&kernel) == 3);
    kernel.let_run("what is written", || {
        file.metadata().unwrap().len() == 102_400
    });
    let read = kernel.read.lock().unwrap().clone();
    let unit = UNIT as usize;
    assert_eq!(read, [(65_536, unit), (16_384, unit), (98_304, 1696)]);
    let mut data = vec![0xee; 102_400];
    file.read_exact_at(&mut data, 0).unwrap();
    let is_there = |at: usize| (16_384..32_768).contains(&at) || (65_536..81_920).contains(&at);
    for (at, byte) in data.iter().enumerate() {
        let wanted = match at {
            98_304..100_000 => bytes[at],
            _ if is_there(at) => bytes[at],
            _ => 0,
        };
        assert_eq!(*byte, wanted, "{at}");
    }
}

#[test]
fn what_is_in_the_cache_is_not_fetched_ahead() {
    let kernel = Kernel::tracing(&[(b"a", blob(65_536))], UNIT, wanting("a\n"));
    let (file, fd) = cache_file();
    file.write_all_at(&blob(65_536)[..UNIT as usize], 0)
        .unwrap();
    // A part of a unit: it is fetched as a whole.
    file.write_all_at(&[1; 4096], 2 * UNIT).unwrap();
    file.set_len(65_536).unwrap();
    kernel.open(1, 5, b"a", fd);
    kernel.let_run("the others", || fetched(&kernel) == 3);
    let mut read = kernel.read.lock().unwrap().clone();
    read.sort();
    let unit = UNIT as usize;
    assert_eq!(read, [(UNIT, unit), (2 * UNIT, unit), (3 * UNIT, unit)]);
    // Opened anew, by the next daemon for example, all of it is there.
    kernel.let_run("what is written", || {
        let mut data = vec![0; 65_536];
        file.read_exact_at(&mut data, 0).unwrap();
        data == blob(65_536)
    });
    kernel.open(
        2,
        6,
        b"a",
        file.try_clone()
            .map(|it| std::os::fd::OwnedFd::from(it).into())
            .unwrap(),
    );
    kernel.let_run("a moment", {
        let begun = std::time::Instant::now();
        move || begun.elapsed() > Duration::from_millis(100)
    });
    assert_eq!(fetched(&kernel), 3);
}

#[test]
fn blobs_without_units_are_fetched_ahead_by_the_mebibyte() {
    let bytes = blob((2 << 20) + 5000);
    let kernel = Kernel::tracing(&[(b"a", bytes.clone())], 1, wanting("a 4096 9999999\n"));
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    let end = bytes.len().next_multiple_of(4096) as u64;
    kernel.let_run("the end", || file.metadata().unwrap().len() == end);
    let steps = [
        (4096, (1 << 20) - 4096),
        (1 << 20, 1 << 20),
        (2 << 20, 5000),
    ];
    assert_eq!(*kernel.read.lock().unwrap(), steps);
    let mut data = vec![0; bytes.len() - 4096];
    file.read_exact_at(&mut data, 4096).unwrap();
    assert!(data == bytes[4096..]);
}

#[test]
fn a_read_of_what_is_being_fetched_ahead_fetches_nothing() {
    let kernel = Kernel::tracing(&[(b"a", blob(32_768))], UNIT, wanting("a\n"));
    let (file, fd) = cache_file();
    let held_back = kernel.read.lock().unwrap();
    kernel.open(1, 5, b"a", fd);
    kernel.let_all_wait();
    let read = kernel.start_read_at(10, 5, 4096);
    kernel.let_all_wait();
    drop(held_back);
    // Completing it needs the kernel: it is failed after three tries, of which only the two that
    // are narrow have fetched something.
    kernel.runtime().block_on(read).unwrap().unwrap();
    kernel.let_run("both units", || file.metadata().unwrap().len() == 32_768);
    let read = kernel.read.lock().unwrap().clone();
    let wide = read.iter().filter(|(_, length)| *length as u64 == UNIT);
    assert_eq!(wide.count(), 2, "{read:?}");
    assert_eq!(read.len(), 4, "{read:?}");
}

#[test]
fn a_source_that_fails_is_given_up_and_readers_do_not_notice() {
    let mut bytes = blob(65_536);
    bytes[20_000] = CORRUPT;
    for is_broken in [false, true] {
        let kernel = Kernel::tracing(&[(b"a", bytes.clone())], UNIT, wanting("a\n"));
        kernel.broken.store(is_broken, Ordering::Relaxed);
        let (file, fd) = cache_file();
        kernel.open(1, 5, b"a", fd);
        assert_eq!(kernel.command().as_deref(), Some("copen 1,65536"));
        // Three tries take milliseconds.
        let begun = std::time::Instant::now();
        kernel.let_run("a moment", || begun.elapsed() > Duration::from_secs(1));
        // The first unit, and the one that is wrong, once: or nothing.
        assert_eq!(fetched(&kernel), if is_broken { 0 } else { 2 });
        let there = if is_broken { 0 } else { UNIT };
        assert_eq!(file.metadata().unwrap().len(), there);
        kernel.broken.store(false, Ordering::Relaxed);
        kernel.read(10, 5, 49_152, 4096);
        let mut data = vec![0; 4096];
        file.read_exact_at(&mut data, 49_152).unwrap();
        assert!(data == bytes[49_152..][..4096]);
        // The READ is tried three times. Nobody else has gone on.
        assert_eq!(fetched(&kernel), if is_broken { 3 } else { 5 });
    }
}

#[test]
fn nothing_is_fetched_ahead_for_an_object_that_is_closed() {
    let kernel = Kernel::tracing(&[(b"a", blob(65_536))], UNIT, wanting("a\n"));
    let held_back = kernel.read.lock().unwrap();
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    kernel.let_all_wait();
    kernel.handle(Message::Close(Close {
        msg_id: 2,
        object_id: 5,
    }));
    drop(held_back);
    let begun = std::time::Instant::now();
    kernel.let_run("a moment", || begun.elapsed() > Duration::from_millis(200));
    assert!(fetched(&kernel) <= 1);
    assert_eq!(file.metadata().unwrap().len(), 0);
}
