// SPDX-License-Identifier: GPL-2.0

use std::rc::Rc;

use super::extent::{Backing, Extent, FirstPart, Known};
use super::snapshot::Glance;
use proptest::prelude::*;

/// Blocks of the file in the random histories.
const BLOCKS: usize = 16;

#[test]
fn adjacent_writes_grow_into_one_extent() {
    let mut known = Known::nothing(true);
    for block in [2, 3, 1, 0, 4] {
        known.learn_data(known.age(), block * 4096, (block + 1) * 4096);
    }
    assert_eq!(known.data_end(0), Some(5 * 4096));
    assert_eq!(known.data_end(5 * 4096), None);
}

#[test]
fn an_answer_to_a_question_from_before_a_change_is_not_remembered() {
    let mut known = Known::nothing(true);
    let age = known.age();
    known.forget();
    known.learn_data(age, 0, 4096);
    assert_eq!(known.data_end(0), None);
    known.learn_data(known.age(), 0, 4096);
    assert_eq!(known.data_end(0), Some(4096));
}

#[test]
fn the_next_question_is_the_one_that_the_last_answer_suggests() {
    let mut known = Known::nothing(true);
    assert!(!known.question().expect_data);
    known.learn_data(known.age(), 0, 4096);
    assert!(known.question().expect_data);
    known.answer_hole(known.question(), 8192, Extent::LastHole);
    assert!(!known.question().expect_data);
    // What is known of data stays.
    assert_eq!(known.data_end(0), Some(4096));
}

#[test]
fn a_hole_is_remembered_up_to_the_data_behind_it() {
    let mut known = Known::nothing(true);
    known.answer_hole(known.question(), 4096, Extent::Hole(12288));
    assert_eq!(known.hole(0), None);
    assert_eq!(known.hole(8192), Some(Extent::Hole(12288)));
    assert_eq!(known.hole(12288), None);
    known.answer_hole(known.question(), 4096, Extent::LastHole);
    assert_eq!(known.hole(1 << 40), Some(Extent::LastHole));
}

#[test]
fn what_is_written_into_a_hole_is_none_any_more() {
    let mut known = Known::nothing(true);
    known.answer_hole(known.question(), 0, Extent::LastHole);
    // In order, as a sequential reader has it written: what is behind is kept.
    known.learn_data(known.age(), 0, 4096);
    assert_eq!(known.hole(0), None);
    assert_eq!(known.hole(4096), Some(Extent::LastHole));
    known.learn_data(known.age(), 8192, 12288);
    assert_eq!(known.hole(8192), None);
    assert_eq!(known.hole(12288), Some(Extent::LastHole));
}

#[test]
fn a_hole_that_was_asked_for_before_a_write_is_not_remembered() {
    let mut known = Known::nothing(true);
    let question = known.question();
    known.learn_data(known.age(), 0, 4096);
    known.learn_data(known.age(), 1 << 20, (1 << 20) + 4096);
    known.answer_hole(question, 0, Extent::LastHole);
    assert_eq!(known.hole(0), None);
}

#[test]
fn nothing_is_learnt_of_a_file_that_was_replaced() {
    let (old, new) = (Rc::new(1), Rc::new(2));
    let mut backing = Backing::none(true);
    assert_eq!(backing.replace(Some(old.clone())), None);
    let age = backing.known(&old).unwrap().age();
    backing.known(&old).unwrap().learn_data(age, 0, 4096);

    // An operation that began with the old file goes on while the object gets a new one.
    assert_eq!(backing.replace(Some(new.clone())), Some(old.clone()));
    assert_eq!(backing.known(&new).unwrap().data_end(0), None);
    if let Some(known) = backing.known(&old) {
        known.learn_data(known.age(), 0, 4096);
    }
    assert_eq!(backing.known(&new).unwrap().data_end(0), None);
    // And so does one that asked when there was no file in place.
    backing.replace(None);
    assert!(backing.known(&new).is_none());
}

#[test]
fn a_part_of_a_page_is_not_taken_for_the_page() {
    let part = |data_end, i_size| FirstPart::of(0, data_end, i_size, 4096).unwrap();
    // Blocks of 1 KiB, of which the last of the object was lost.
    assert_eq!(part(1024, 3000), FirstPart::Fetched);
    assert_eq!(
        part(5 * 4096 + 2048, 6 * 4096 - 100),
        FirstPart::Cached(4 * 4096)
    );
    assert_eq!(part(4096 + 2048, 2 * 4096 - 100), FirstPart::FetchedOnly);
    // And in the middle.
    assert_eq!(part(5 * 4096 + 2048, 1 << 20), FirstPart::Cached(5 * 4096));
    // The end of the object is all there, in a part of its last page.
    assert_eq!(part(1024, 1000), FirstPart::Cached(4096));
    assert_eq!(part(4096, 1000), FirstPart::Cached(4096));
    assert_eq!(FirstPart::of(0, i64::MAX - 1, 1000, 4096), None);
}

#[test]
fn what_is_left_to_fetch_is_no_less_than_a_page() {
    let part =
        |start: i64, pages: i64| FirstPart::of(start, pages * 4096, 8 * 4096 + 1, 4096).unwrap();
    assert_eq!(part(0, 7), FirstPart::Cached(7 * 4096));
    assert_eq!(part(0, 8), FirstPart::Cached(7 * 4096));
    assert_eq!(part(7 * 4096, 8), FirstPart::FetchedOnly);
    assert_eq!(part(6 * 4096, 7), FirstPart::Cached(7 * 4096));
}

/// A file with 8 blocks that is in place, as the object has it.
fn with_8_blocks() -> (Rc<i32>, Backing<Rc<i32>>, Glance) {
    let (file, mut backing, glance) = (Rc::new(1), Backing::none(true), Glance::nothing());
    backing.replace(Some(file.clone()));
    glance.show(1, 8, 0, 0);
    (file, backing, glance)
}

#[test]
fn data_that_is_lost_between_the_question_and_the_answer_is_not_remembered() {
    let (file, mut backing, glance) = with_8_blocks();
    backing.see(&glance, 1, 8);
    let question = backing.known(&file).unwrap().question();
    backing.see(&glance, 1, 7);
    let known = backing.known(&file).unwrap();
    known.answer_data(question, 0, 4096);
    assert_eq!(known.data_end(0), None);
}

#[test]
fn data_that_is_lost_during_a_write_is_not_remembered() {
    let (file, mut backing, glance) = with_8_blocks();
    // Others wrote before, of which nothing was told.
    backing.see(&glance, 1, 32);
    let (_, age) = backing.to_write().unwrap();
    backing.see(&glance, 1, 24);
    let known = backing.known(&file).unwrap();
    known.learn_data(age, 0, 4096);
    assert_eq!(known.data_end(0), None);
}

#[test]
fn what_is_known_stays_as_long_as_blocks_are_added() {
    let (file, mut backing, glance) = with_8_blocks();
    let known = backing.known(&file).unwrap();
    known.learn_data(known.age(), 0, 4096);
    backing.see(&glance, 1, 16);
    assert_eq!(glance.data_end(1, 16, 0), Some(4096));
    // Fewer than there were, though no fewer than when the data was written.
    assert_eq!(glance.data_end(1, 8, 0), None);
    backing.see(&glance, 1, 8);
    assert_eq!(glance.data_end(1, 8, 0), None);
    assert_eq!(backing.known(&file).unwrap().data_end(0), None);
}

#[test]
fn what_is_known_is_forgotten_after_a_read_that_ends_too_early() {
    let (file, mut backing, glance) = with_8_blocks();
    let known = backing.known(&file).unwrap();
    known.learn_data(known.age(), 0, 4096);
    glance.show(1, 8, 0, 4096);
    let question = backing.known(&file).unwrap().question();
    glance.doubt(2);
    assert_eq!(glance.data_end(1, 8, 0), Some(4096), "of another file");
    glance.doubt(1);
    assert_eq!(glance.data_end(1, 8, 0), None);
    // The file has as many blocks as before.
    backing.see(&glance, 1, 8);
    assert_eq!(glance.data_end(1, 8, 0), None);
    let known = backing.known(&file).unwrap();
    assert_eq!(known.data_end(0), None);
    known.answer_data(question, 0, 4096);
    assert_eq!(known.data_end(0), None, "asked before");
    // What is learnt from then on counts.
    known.learn_data(known.age(), 0, 4096);
    glance.show(1, 8, 0, 4096);
    backing.see(&glance, 1, 8);
    assert_eq!(glance.data_end(1, 8, 0), Some(4096));
}

#[test]
fn where_blocks_tell_nothing_no_data_is_remembered() {
    let mut known = Known::nothing(false);
    known.learn_data(known.age(), 0, 4096);
    known.answer_data(known.question(), 0, 4096);
    assert_eq!(known.data_end(0), None);
    assert_eq!(known.data(), (0, 0));
    // The question to ask first is.
    assert!(known.question().expect_data);
    known.answer_hole(known.question(), 4096, Extent::LastHole);
    assert_eq!(known.hole(4096), Some(Extent::LastHole));
    known.forget();
    known.learn_data(known.age(), 0, 4096);
    assert_eq!(known.data_end(0), None);
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
    fn what_is_known_is_so(events in prop::collection::vec(event(), 0..60)) {
        let mut file = [false; BLOCKS];
        let mut known = Known::nothing(true);
        let mut asked = None;
        for event in events {
            match event {
                Event::Write(from, to) => {
                    let age = known.age();
                    file[from..to].fill(true);
                    known.learn_data(age, from as i64, to as i64);
                }
                Event::Ask(at) => {
                    let is_data = file[at];
                    let end = (at..BLOCKS).find(|&block| file[block] != is_data);
                    asked = Some((known.question(), at as i64, is_data, end));
                }
                Event::Answer => {
                    if let Some((question, from, is_data, end)) = asked.take() {
                        let to = end.map_or(BLOCKS as i64, |end| end as i64);
                        match (is_data, end) {
                            (true, _) => known.answer_data(question, from, to),
                            (false, Some(_)) => known.answer_hole(question, from, Extent::Hole(to)),
                            (false, None) => known.answer_hole(question, from, Extent::LastHole),
                        }
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
                let hole_end = match known.hole(at as i64) {
                    None => continue,
                    Some(Extent::Hole(end)) => end as usize,
                    _ => BLOCKS,
                };
                prop_assert!(file[at..hole_end].iter().all(|&data| !data));
            }
        }
    }
}
