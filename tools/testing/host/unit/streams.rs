// SPDX-License-Identifier: GPL-2.0

use super::streams::{Ahead, Noted, ReadAt, Streams};

const KIB: i64 = 1 << 10;
const PAGE: i64 = 4 * KIB;
const WINDOW: i64 = 128 * KIB;
const LIMIT: i64 = 1024 * KIB;
const SIZE: i64 = 64 << 20;

fn read(object: u32, start: i64, len: i64) -> ReadAt {
    ReadAt {
        object,
        start,
        end: start + len,
        size: SIZE,
        is_missing: true,
    }
}

fn note(streams: &mut Streams, read: ReadAt) -> Option<Ahead> {
    streams.note(&read, LIMIT, PAGE).ahead
}

/// Reads windows from `start` on. Returns up to where is asked for after each, and checks that
/// nothing is asked for twice.
fn run(streams: &mut Streams, object: u32, start: i64, windows: i64) -> Vec<i64> {
    let (mut asked, mut all) = (start, Vec::new());
    for window in 0..windows {
        let at = read(object, start + window * WINDOW, WINDOW);
        if let Some(ahead) = note(streams, at) {
            assert_eq!(ahead.start, asked.max(at.end), "a gap, or twice");
            assert!(ahead.end > ahead.start && ahead.end <= at.end + LIMIT);
            assert!(ahead.unit > 0 && ahead.unit % PAGE == 0);
            asked = ahead.end;
        }
        all.push(asked);
    }
    all
}

#[test]
fn the_second_of_two_reads_in_sequence_asks_ahead() {
    let mut streams = Streams::new();
    let asked = run(&mut streams, 1, 0, 12);
    assert_eq!(asked[0], 0, "one read is no sequence");
    // Twice of what was read, and then as far as it may.
    assert_eq!(asked[1], 6 * WINDOW);
    assert_eq!(asked[2], 9 * WINDOW);
    for (window, asked) in asked.iter().enumerate().skip(3) {
        assert_eq!(*asked, (window as i64 + 1) * WINDOW + LIMIT);
    }
}

#[test]
fn reads_at_random_ask_for_nothing() {
    let mut streams = Streams::new();
    let pages = SIZE / PAGE;
    for number in 0..10_000 {
        let noted = streams.note(&read(1, number * 7919 % pages * PAGE, PAGE), LIMIT, PAGE);
        let nothing = Noted {
            ahead: None,
            is_streamed: false,
        };
        assert_eq!(noted, nothing);
    }
    // Not even two that happen to be neighbours.
    assert_eq!(note(&mut streams, read(1, 0, PAGE)), None);
    assert_eq!(note(&mut streams, read(1, PAGE, PAGE)), None);
}

#[test]
fn small_reads_in_sequence_ask_in_large_pieces() {
    let mut streams = Streams::new();
    let (mut asked, mut times) = (0, 0);
    for page in 0..256 {
        let at = read(1, page * PAGE, PAGE);
        if let Some(ahead) = note(&mut streams, at) {
            assert!(ahead.unit >= 64 * KIB && (ahead.end - ahead.start) % ahead.unit == 0);
            assert_eq!(ahead.start, asked.max(at.end));
            asked = ahead.end;
            times += 1;
        }
    }
    assert!(asked >= 1792 * KIB, "up to {} KiB", asked / KIB);
    assert!(times <= 32, "{times} times");
}

#[test]
fn nothing_is_asked_for_behind_the_object() {
    for size in [3 * WINDOW, 3 * WINDOW + 1, 5 * WINDOW + 12_345, 20 * WINDOW] {
        let mut streams = Streams::new();
        let mut asked = 0;
        let mut start = 0;
        while start < size {
            let end = (start + WINDOW).min((size + PAGE - 1) / PAGE * PAGE);
            let at = ReadAt {
                object: 1,
                start,
                end,
                size,
                is_missing: true,
            };
            let noted = streams.note(&at, LIMIT, PAGE);
            if let Some(ahead) = noted.ahead {
                assert!(ahead.end <= size, "{ahead:?} of {size}");
                asked = ahead.end;
            }
            if end >= size {
                assert!(!noted.is_streamed, "it goes on behind the end");
            }
            start = end;
        }
        assert_eq!(asked, size / PAGE * PAGE);
    }
}

#[test]
fn sequences_do_not_disturb_each_other() {
    let mut streams = Streams::new();
    let alone = run(&mut Streams::new(), 1, 0, 10);
    let mut asked = [[0; 10]; 3];
    for window in 0..10 {
        // Two of one object, one of another, and reads here and there in between.
        for (number, (object, start)) in [(1, 0), (1, 200 * WINDOW), (2, 0)].iter().enumerate() {
            let at = read(*object, start + window * WINDOW, WINDOW);
            let before = if window == 0 {
                0
            } else {
                asked[number][window as usize - 1]
            };
            let ahead = note(&mut streams, at);
            asked[number][window as usize] = ahead.map_or(before, |ahead| ahead.end - start);
            for other in 0..8 {
                let at = (window * 24 + number as i64 * 8 + other) * 7919 % 10_000 + 1;
                assert_eq!(note(&mut streams, read(3, at * PAGE, PAGE)), None);
            }
        }
    }
    for asked in asked {
        assert_eq!(asked[..], alone[..]);
    }
}

#[test]
fn a_read_that_comes_again_changes_nothing() {
    let mut streams = Streams::new();
    assert_eq!(note(&mut streams, read(1, 0, WINDOW)), None);
    assert_eq!(note(&mut streams, read(1, 0, WINDOW)), None);
    let ahead = note(&mut streams, read(1, WINDOW, WINDOW));
    assert_eq!(ahead.map(|ahead| ahead.end), Some(6 * WINDOW));
    assert_eq!(note(&mut streams, read(1, WINDOW, WINDOW)), None);
    let ahead = note(&mut streams, read(1, 2 * WINDOW, WINDOW));
    assert_eq!(ahead.map(|ahead| ahead.start), Some(6 * WINDOW));
}

#[test]
fn what_could_not_be_asked_for_is_left_to_the_next_read() {
    let mut streams = Streams::new();
    assert_eq!(note(&mut streams, read(1, 0, WINDOW)), None);
    let ahead = note(&mut streams, read(1, WINDOW, WINDOW)).unwrap();
    streams.fall_short(1, ahead.end, ahead.start + WINDOW);
    let ahead = note(&mut streams, read(1, 2 * WINDOW, WINDOW)).unwrap();
    assert_eq!(ahead.start, 3 * WINDOW);
}

#[test]
fn the_rest_of_a_read_is_asked_for_at_once() {
    // What is asked for ahead ends in the middle of the next read.
    let mut streams = Streams::new();
    let limit = 64 * KIB;
    for (start, expected) in [
        (0, None),
        (WINDOW, Some(2 * WINDOW)),
        (2 * WINDOW, Some(2 * WINDOW + limit)),
    ] {
        let ahead = streams.note(&read(1, start, WINDOW), limit, PAGE).ahead;
        assert_eq!(ahead.map(|ahead| ahead.start), expected);
        if let Some(ahead) = ahead {
            assert_eq!(ahead.end, start + WINDOW + limit);
        }
    }
}

#[test]
fn reads_that_find_all_go_on_with_a_sequence_and_begin_none() {
    let mut streams = Streams::new();
    let found = |start| ReadAt {
        is_missing: false,
        ..read(1, start, WINDOW)
    };
    for window in 0..10 {
        let noted = streams.note(&found(window * WINDOW), LIMIT, PAGE);
        assert_eq!(noted.ahead, None);
        assert!(!noted.is_streamed);
    }
    run(&mut streams, 1, 20 * WINDOW, 2);
    let noted = streams.note(&found(22 * WINDOW), LIMIT, PAGE);
    assert!(noted.ahead.is_some() && noted.is_streamed);
    // If nobody goes on with it, it is forgotten some time.
    let mut reads = 0;
    while streams.note(&found(0), LIMIT, PAGE).is_streamed {
        reads += 1;
        assert!(reads < 1000, "it is never forgotten");
    }
}

#[test]
fn any_limit_and_any_position_will_do() {
    for limit in [KIB, 4 * KIB, 5 * KIB, 100 * KIB, 16 << 20] {
        for (start, len) in [
            (0, 1),
            (1, 4095),
            (12_345, 70_000),
            (i64::MAX - 200_000, 99_999),
        ] {
            for size in [0, 1, 100_000, i64::MAX] {
                let mut streams = Streams::new();
                for number in 0..4 {
                    let start = start + (number % 2) * len;
                    let at = ReadAt {
                        object: 1,
                        start,
                        end: start + len,
                        size,
                        is_missing: number < 3,
                    };
                    if let Some(ahead) = streams.note(&at, limit, PAGE).ahead {
                        assert!(ahead.start < ahead.end && ahead.unit > 0);
                        assert!(ahead.end <= size && ahead.end - at.end <= limit);
                    }
                }
            }
        }
    }
}
