// SPDX-License-Identifier: GPL-2.0

use super::extent::Known;
use proptest::prelude::*;

/// Blocks of the file in the random histories.
const BLOCKS: usize = 16;

#[test]
fn adjacent_writes_grow_into_one_extent() {
    let mut known = Known::NOTHING;
    for block in [2, 3, 1, 0, 4] {
        known.learn_data(known.age(), block * 4096, (block + 1) * 4096);
    }
    assert_eq!(known.data_end(0), Some(5 * 4096));
    assert_eq!(known.data_end(5 * 4096), None);
}

#[test]
fn an_answer_to_a_question_from_before_a_change_is_not_remembered() {
    let mut known = Known::NOTHING;
    let age = known.age();
    known.forget();
    known.learn_data(age, 0, 4096);
    assert_eq!(known.data_end(0), None);
    known.learn_data(known.age(), 0, 4096);
    assert_eq!(known.data_end(0), Some(4096));
}

#[test]
fn the_next_question_is_the_one_that_the_last_answer_suggests() {
    let mut known = Known::NOTHING;
    assert!(!known.expects_data());
    known.learn_data(known.age(), 0, 4096);
    assert!(known.expects_data());
    known.learn_hole();
    assert!(!known.expects_data());
    // What is known of data stays.
    assert_eq!(known.data_end(0), Some(4096));
}

#[derive(Clone, Debug)]
enum Event {
    /// Data is written, and the answer comes at once.
    Write(usize, usize),
    /// Somebody asks what is at a block now, and remembers it at `Event::Answer`.
    Ask(usize),
    Answer,
    /// The file loses all from a block on.
    Truncate(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..BLOCKS, 1..5usize).prop_map(|(at, len)| Event::Write(at, (at + len).min(BLOCKS))),
        (0..BLOCKS).prop_map(Event::Ask),
        Just(Event::Answer),
        (0..BLOCKS).prop_map(Event::Truncate),
    ]
}

proptest! {
    #[test]
    fn what_is_known_to_be_data_is_data(events in prop::collection::vec(event(), 0..60)) {
        let mut file = [false; BLOCKS];
        let mut known = Known::NOTHING;
        let mut asked = None;
        for event in events {
            match event {
                Event::Write(from, to) => {
                    let age = known.age();
                    file[from..to].fill(true);
                    known.learn_data(age, from as i64, to as i64);
                }
                Event::Ask(at) => {
                    let end = (at..BLOCKS).find(|&block| !file[block]).unwrap_or(BLOCKS);
                    asked = Some((known.age(), at as i64, end as i64));
                }
                Event::Answer => {
                    if let Some((age, from, to)) = asked.take() {
                        known.learn_data(age, from, to);
                    }
                }
                Event::Truncate(from) => {
                    file[from..].fill(false);
                    known.forget();
                }
            }
            for at in 0..BLOCKS {
                if let Some(end) = known.data_end(at as i64) {
                    prop_assert!(file[at..end as usize].iter().all(|&data| data));
                }
            }
        }
    }
}
