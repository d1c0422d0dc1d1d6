// SPDX-License-Identifier: GPL-2.0

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use super::snapshot::Snapshot;

#[test]
fn what_is_published_last_is_read() {
    let snapshot = Snapshot::empty();
    assert_eq!(snapshot.data_end(0, 8, 0), None);
    snapshot.publish(1, 8, 4096, 8192);
    assert_eq!(snapshot.data_end(1, 8, 4096), Some(8192));
    assert_eq!(snapshot.data_end(1, 8, 4095), None);
    assert_eq!(snapshot.data_end(1, 8, 8192), None);
    // Another file at the same place.
    assert_eq!(snapshot.data_end(2, 8, 4096), None);
    snapshot.publish(2, 8, 0, 4096);
    assert_eq!(snapshot.data_end(1, 8, 4096), None);
    assert_eq!(snapshot.data_end(2, 8, 0), Some(4096));
}

#[test]
fn file_with_fewer_blocks_has_nothing_to_be_seen() {
    let snapshot = Snapshot::empty();
    snapshot.publish(1, 8, 0, 4096);
    assert_eq!(snapshot.blocks(), 8);
    assert_eq!(snapshot.data_end(1, 9, 0), Some(4096));
    assert_eq!(snapshot.data_end(1, 7, 0), None);
    snapshot.publish(1, 7, 0, 512);
    assert_eq!(snapshot.data_end(1, 7, 0), Some(512));
}

#[test]
fn only_the_published_file_becomes_stale_and_the_next_one_is_not() {
    let snapshot = Snapshot::empty();
    snapshot.publish(1, 8, 0, 4096);
    snapshot.mark_stale(2);
    assert!(!snapshot.is_stale());
    snapshot.mark_stale(1);
    assert!(snapshot.is_stale());
    snapshot.publish(2, 8, 0, 4096);
    snapshot.clear_stale();
    assert!(!snapshot.is_stale());
}

#[test]
fn no_look_sees_a_part_of_a_change() {
    // Each file has a stretch of its own, and no two of them touch.
    const STEP: i64 = 100;
    let snapshot = Snapshot::empty();
    let is_over = AtomicBool::new(false);
    let seen = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    for file in 0..8 {
                        let start = STEP * file as i64;
                        // The start of one and the end of another would be taken for a hit here.
                        if let Some(end) = snapshot.data_end(file, 8, start) {
                            assert_eq!(end, start + 10, "file {file}");
                            seen.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        for file in (0..8).cycle() {
            let start = STEP * file as i64;
            snapshot.publish(file, 8, start, start + 10);
            if seen.load(Ordering::Relaxed) > 100_000 {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
