// SPDX-License-Identifier: GPL-2.0
//! The engine against a stand-in for the kernel. (Completing a READ needs the real thing: that is
//! tested in the VM.)

mod kernel;
mod traces;

use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cachefiles_daemon::identity::Identities;
use cachefiles_protocol::{Close, Message};

use kernel::{CORRUPT, DEADLINE, Kernel, broken_object, cache_file};

fn blob(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8 + 1).collect()
}

#[test]
fn an_open_is_answered_with_the_size_in_whole_pages() {
    let kernel = Kernel::new(&[
        (b"a", blob(10_000)),
        (b"empty", Vec::new()),
        (b"page", blob(4096)),
    ]);
    for (msg_id, key, size) in [(7, &b"a"[..], 12288), (8, b"empty", 0), (9, b"page", 4096)] {
        kernel.open(msg_id, msg_id, key, cache_file().1);
        assert_eq!(kernel.command(), Some(format!("copen {msg_id},{size}")));
    }
    assert_eq!(kernel.engine.stats().opens.load(Ordering::Relaxed), 3);
}

#[test]
fn an_unknown_blob_is_refused_and_its_fd_closed() {
    let kernel = Kernel::new(&[]);
    let (mut reader, fd) = broken_object();
    kernel.open(3, 1, b"absent", fd);
    assert_eq!(kernel.command().as_deref(), Some("copen 3,-2"));
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    assert_eq!(
        kernel.engine.stats().opens_refused.load(Ordering::Relaxed),
        1
    );
}

#[test]
fn an_open_whose_source_is_away_for_a_moment_is_tried_again() {
    let kernel = Kernel::new(&[(b"a", blob(4096))]);
    kernel.away.store(2, Ordering::Relaxed);
    kernel.open(1, 5, b"a", cache_file().1);
    assert_eq!(kernel.command().as_deref(), Some("copen 1,4096"));
    // Three times, as the kernel of these tests says, and not for ever.
    kernel.away.store(3, Ordering::Relaxed);
    kernel.open(2, 6, b"a", cache_file().1);
    assert_eq!(kernel.command().as_deref(), Some("copen 2,-5"));
    assert_eq!(kernel.away.load(Ordering::Relaxed), 0);
    // What is sure is not asked for again.
    kernel.open(3, 7, b"absent", cache_file().1);
    assert_eq!(kernel.command().as_deref(), Some("copen 3,-2"));
    assert_eq!(kernel.engine.stats().retries.load(Ordering::Relaxed), 4);
}

#[test]
fn a_source_that_says_when_to_come_back_is_not_asked_before() {
    let kernel = Kernel::new(&[(b"a", blob(4096))]);
    kernel.away.store(1, Ordering::Relaxed);
    let pause = Duration::from_millis(300);
    *kernel.until.lock().unwrap() = Some(pause);
    let start = Instant::now();
    kernel.open(1, 5, b"a", cache_file().1);
    assert!(start.elapsed() >= pause, "{:?}", start.elapsed());
    assert_eq!(kernel.command().as_deref(), Some("copen 1,4096"));
}

#[test]
fn a_read_writes_whole_pages_and_zeros_behind_the_end() {
    let bytes = blob(30_000);
    let kernel = Kernel::new(&[(b"a", bytes.clone())]);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    kernel.read(2, 5, 4096 + 100, 24_000);
    let mut data = vec![0xff; 28_672];
    assert_eq!(file.read_at(&mut data, 0).unwrap(), 28_672);
    assert!(
        data[..4096].iter().all(|&byte| byte == 0),
        "what was not asked for is not written"
    );
    assert_eq!(data[4096..], bytes[4096..28_672]);
    kernel.read(3, 5, 28_672, 4096);
    let mut tail = vec![0xff; 4096];
    assert_eq!(file.read_at(&mut tail, 28_672).unwrap(), 4096);
    assert_eq!(tail[..30_000 - 28_672], bytes[28_672..]);
    assert!(tail[30_000 - 28_672..].iter().all(|&byte| byte == 0));
    assert_eq!(
        kernel.engine.stats().bytes.load(Ordering::Relaxed),
        // Each is tried three times: completing it needs the kernel.
        3 * (24_576 + 4096)
    );
}

#[test]
fn a_read_is_widened_to_units_and_the_last_one_ends_with_the_blob() {
    let bytes = blob(40_000);
    let kernel = Kernel::fetching(&[(b"a", bytes.clone())], 16_384);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    kernel.read(2, 5, 20_480, 4096);
    let mut data = vec![0xee; 16_384];
    assert_eq!(file.read_at(&mut data, 16_384).unwrap(), 16_384);
    assert_eq!(data, bytes[16_384..32_768]);
    // Completing needs the kernel; what is tried again is as narrow as can be.
    let narrow = (20_480, 4096);
    assert_eq!(
        *kernel.read.lock().unwrap(),
        [(16_384, 16_384), narrow, narrow]
    );
    kernel.read(3, 5, 36_864, 4096);
    assert_eq!(file.metadata().unwrap().len(), 40_960);
    let mut data = vec![0xee; 8192];
    file.read_exact_at(&mut data, 32_768).unwrap();
    assert_eq!(data[..7232], bytes[32_768..]);
    assert!(data[7232..].iter().all(|&byte| byte == 0));
    assert_eq!(kernel.read.lock().unwrap()[3], (32_768, 7232));
}

#[test]
fn what_does_not_match_its_digest_is_an_error_at_once_and_never_written() {
    let mut bytes = blob(16_384);
    bytes[5000] = CORRUPT;
    let kernel = Kernel::fetching(&[(b"a", bytes.clone())], 16_384);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    kernel.command();
    kernel.read(2, 5, 4096, 4096);
    assert_eq!(kernel.command().as_deref(), Some("cfail 2,-5"));
    assert_eq!(file.metadata().unwrap().len(), 0);
    let stats = kernel.engine.stats();
    assert_eq!(stats.reads_corrupt.load(Ordering::Relaxed), 1);
    assert_eq!(stats.retries.load(Ordering::Relaxed), 0);
    // What lies beside it in its unit can be had.
    kernel.read(3, 5, 8192, 4096);
    let mut data = vec![0; 4096];
    file.read_exact_at(&mut data, 8192).unwrap();
    assert_eq!(data, bytes[8192..12_288]);
    assert_eq!(file.metadata().unwrap().len(), 12_288);
}

#[test]
fn those_who_wait_for_a_unit_that_fails_fetch_what_they_want_alone() {
    let mut bytes = blob(16_384);
    bytes[5000] = CORRUPT;
    let kernel = Kernel::fetching(&[(b"a", bytes.clone())], 16_384);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    // The first one takes the unit, and the others wait for it.
    let reads = [(10, 0), (11, 8192), (12, 12_288), (13, 4096)];
    let held_back = kernel.read.lock().unwrap();
    let reads = reads.map(|(msg_id, off)| kernel.start_read_at(msg_id, 5, off));
    kernel.let_all_wait();
    drop(held_back);
    for read in reads {
        kernel.runtime().block_on(read).unwrap().unwrap();
    }
    let asked = kernel.read.lock().unwrap();
    let wide = asked.iter().filter(|(_, length)| *length > 4096).count();
    assert_eq!(wide, 1, "{asked:?}");
    for at in [0, 8192, 12_288] {
        let mut data = vec![0; 4096];
        file.read_exact_at(&mut data, at as u64).unwrap();
        assert_eq!(data, bytes[at..at + 4096]);
    }
}

#[test]
fn a_flood_of_opens_does_not_take_all_threads() {
    let kernel = Kernel::new(&[(b"slow", blob(4096))]);
    let opens: Vec<_> = (1..9).map(|id| kernel.start_open(id, b"slow")).collect();
    for open in opens {
        kernel.runtime().block_on(open).unwrap().unwrap();
    }
    assert_eq!(kernel.engine.stats().opens.load(Ordering::Relaxed), 8);
    assert_eq!(kernel.most_opening.load(Ordering::Relaxed), 2);
}

#[test]
fn a_read_behind_the_last_page_is_an_error_at_once_and_writes_nothing() {
    let kernel = Kernel::new(&[(b"a", blob(30_000))]);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    assert_eq!(kernel.command().as_deref(), Some("copen 1,32768"));
    for (msg_id, off, len) in [(2, 28_672, 8192), (3, 32_768, 4096), (4, 1 << 40, 1)] {
        kernel.read(msg_id, 5, off, len);
        assert_eq!(kernel.command(), Some(format!("cfail {msg_id},-5")));
    }
    assert_eq!(file.metadata().unwrap().len(), 0);
    assert_eq!(kernel.engine.stats().retries.load(Ordering::Relaxed), 0);
}

#[test]
fn a_blob_that_changes_while_it_is_served_fails_its_reads_at_once() {
    let kernel = Kernel::new(&[(b"a", blob(4096))]);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    kernel.command();
    kernel.changed.store(true, Ordering::Relaxed);
    kernel.read(2, 5, 0, 4096);
    assert_eq!(kernel.command().as_deref(), Some("cfail 2,-5"));
    assert_eq!(file.metadata().unwrap().len(), 0);
}

#[test]
fn another_blob_of_the_same_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = |length| {
        let identities = Identities::new(dir.path()).unwrap();
        let kernel = Kernel::with(&[(b"a", blob(length))], Some(identities));
        kernel.open(1, 5, b"a", cache_file().1);
        kernel.command()
    };
    assert_eq!(open(4096).as_deref(), Some("copen 1,4096"));
    assert_eq!(open(8192).as_deref(), Some("copen 1,-116"));
    assert_eq!(open(4096).as_deref(), Some("copen 1,4096"));
}

#[test]
fn a_failed_fetch_writes_nothing_and_is_tried_again() {
    let kernel = Kernel::new(&[(b"a", blob(4096))]);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    kernel.broken.store(true, Ordering::Relaxed);
    let read = kernel.start_read(2, 5);
    kernel.runtime().block_on(async {
        while kernel.engine.stats().retries.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(file.metadata().unwrap().len(), 0);
    kernel.broken.store(false, Ordering::Relaxed);
    kernel.runtime().block_on(read).unwrap().unwrap();
    assert_eq!(file.metadata().unwrap().len(), 4096);
}

#[test]
fn the_last_failure_fails_the_read_and_keeps_the_object() {
    let kernel = Kernel::new(&[(b"a", blob(4096))]);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    assert_eq!(kernel.command().as_deref(), Some("copen 1,4096"));
    kernel.broken.store(true, Ordering::Relaxed);
    kernel.read(2, 5, 0, 4096);
    assert_eq!(kernel.command().as_deref(), Some("cfail 2,-5"));
    assert_eq!(kernel.command(), None);
    kernel.broken.store(false, Ordering::Relaxed);
    kernel.read(3, 5, 0, 4096);
    assert_eq!(file.metadata().unwrap().len(), 4096);
}

#[test]
fn a_source_that_does_not_answer_fails_the_read_at_its_deadline() {
    let kernel = Kernel::hasty(&[(b"hangs", blob(16_384)), (b"a", blob(4096))]);
    kernel.open(1, 5, b"hangs", cache_file().1);
    let (file, fd) = cache_file();
    kernel.open(2, 6, b"a", fd);
    kernel.command();
    kernel.command();
    let start = Instant::now();
    // More than there are turns: those that wait for theirs fail in time as well.
    let hanging: Vec<_> = (10..14).map(|id| kernel.start_read(id, 5)).collect();
    // Another blob is served meanwhile.
    kernel.read(20, 6, 0, 4096);
    assert_eq!(file.metadata().unwrap().len(), 4096);
    for read in hanging {
        kernel.runtime().block_on(read).unwrap().unwrap();
    }
    let took = start.elapsed();
    assert!(took >= DEADLINE && took < 100 * DEADLINE, "{took:?}");
    // What is served fails here too: completing it needs the kernel.
    let mut commands: Vec<String> = std::iter::from_fn(|| kernel.command()).collect();
    commands.retain(|command| command != "cfail 20,-5");
    commands.sort();
    let wanted = [10, 11, 12, 13].map(|id| format!("cfail {id},-5"));
    assert_eq!(commands, wanted);
}

#[test]
fn a_read_that_is_delivered_again_is_left_to_the_task_that_has_it() {
    let kernel = Kernel::hasty(&[(b"hangs", blob(16_384))]);
    kernel.open(1, 5, b"hangs", cache_file().1);
    kernel.command();
    let first = kernel.start_read(10, 5);
    // Returns at once, without an answer.
    kernel.read(10, 5, 0, 4096);
    assert!(!first.is_finished());
    assert_eq!(kernel.command(), None);
    kernel.runtime().block_on(first).unwrap().unwrap();
    assert_eq!(kernel.command().as_deref(), Some("cfail 10,-5"));
    assert_eq!(kernel.command(), None);
}

#[test]
fn a_read_that_has_moved_to_another_object_is_not_failed_for_the_old_one() {
    let kernel = Kernel::hasty(&[(b"hangs", blob(16_384)), (b"a", blob(4096))]);
    kernel.open(1, 5, b"hangs", cache_file().1);
    kernel.open(2, 6, b"a", cache_file().1);
    kernel.command();
    kernel.command();
    let reads = [5, 6].map(|object_id| kernel.start_read(11, object_id));
    for read in reads {
        kernel.runtime().block_on(read).unwrap().unwrap();
    }
    // The new one fails as well, as completing it needs the kernel; the old one says nothing.
    assert_eq!(kernel.command().as_deref(), Some("cfail 11,-5"));
    assert_eq!(kernel.command(), None);
}

#[test]
fn a_source_that_does_not_answer_keeps_no_fd_open() {
    let kernel = Kernel::hasty(&[(b"hangs", blob(4096))]);
    let (mut reader, fd) = broken_object();
    kernel.open(1, 5, b"hangs", fd);
    kernel.read(2, 5, 0, 4096);
    let (msg_id, object_id) = (3, 5);
    kernel.handle(Message::Close(Close { msg_id, object_id }));
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}

#[test]
fn without_cfail_the_object_stays_open_for_other_reads() {
    let kernel = Kernel::new(&[(b"a", blob(4096))]);
    let (mut reader, fd) = broken_object();
    kernel.open(1, 5, b"a", fd);
    kernel.broken.store(true, Ordering::Relaxed);
    // It takes no command any more.
    rustix::net::shutdown(&kernel.commands, rustix::net::Shutdown::Both).unwrap();
    kernel.read(2, 5, 0, 4096);
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let error = reader.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let stats = kernel.engine.stats();
    assert_eq!(stats.retries.load(Ordering::Relaxed), 2);
    assert_eq!(stats.reads_completed.load(Ordering::Relaxed), 0);
}

#[test]
fn a_read_of_an_unknown_object_waits_for_whoever_has_it_until_its_deadline() {
    let kernel = Kernel::hasty(&[]);
    let start = Instant::now();
    kernel.read(2, 99, 0, 4096);
    assert!(start.elapsed() + Duration::from_millis(10) >= DEADLINE);
    assert_eq!(kernel.command().as_deref(), Some("cfail 2,-5"));
    let stats = kernel.engine.stats();
    assert_eq!(stats.reads_completed.load(Ordering::Relaxed), 0);
    assert_eq!(stats.reads_failed.load(Ordering::Relaxed), 1);
}

#[test]
fn a_close_drops_the_fd_of_its_object_only() {
    let kernel = Kernel::new(&[(b"a", blob(1))]);
    let (mut first, first_fd) = broken_object();
    let (second, second_fd) = broken_object();
    kernel.open(1, 5, b"a", first_fd);
    kernel.open(2, 6, b"a", second_fd);
    kernel.handle(Message::Close(Close {
        msg_id: 3,
        object_id: 5,
    }));
    kernel.handle(Message::Close(Close {
        msg_id: 4,
        object_id: 77,
    }));
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
    rustix::io::ioctl_fionbio(&second, true).unwrap();
    assert_eq!(
        (&second).read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    assert_eq!(kernel.engine.stats().closes.load(Ordering::Relaxed), 2);
}

#[test]
fn a_range_beyond_64_bits_is_never_served() {
    let kernel = Kernel::new(&[(b"a", blob(4096))]);
    let (file, fd) = cache_file();
    kernel.open(1, 5, b"a", fd);
    kernel.read(2, 5, u64::MAX - 10, 4096);
    assert_eq!(file.metadata().unwrap().len(), 0);
}
