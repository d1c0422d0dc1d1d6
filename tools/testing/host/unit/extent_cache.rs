// SPDX-License-Identifier: GPL-2.0

use std::rc::Rc;

use super::extent::Extent;
use super::extent_cache::{ExtentCache, FileSlot};
use super::snapshot::Snapshot;
use proptest::prelude::*;

/// Blocks of the file in the random histories.
const BLOCKS: usize = 16;

#[test]
fn adjacent_writes_grow_into_one_extent() {
    let mut extents = ExtentCache::empty(true);
    for block in [2, 3, 1, 0, 4] {
        extents.insert_data(extents.generation(), block * 4096, (block + 1) * 4096);
    }
    assert_eq!(extents.data_end(0), Some(5 * 4096));
    assert_eq!(extents.data_end(5 * 4096), None);
}

#[test]
fn an_answer_to_a_question_from_before_a_change_is_not_remembered() {
    let mut extents = ExtentCache::empty(true);
    let generation = extents.generation();
    extents.clear();
    extents.insert_data(generation, 0, 4096);
    assert_eq!(extents.data_end(0), None);
    extents.insert_data(extents.generation(), 0, 4096);
    assert_eq!(extents.data_end(0), Some(4096));
}

#[test]
fn the_next_question_is_the_one_that_the_last_answer_suggests() {
    let mut extents = ExtentCache::empty(true);
    assert!(!extents.query().expect_data);
    extents.insert_data(extents.generation(), 0, 4096);
    assert!(extents.query().expect_data);
    extents.found_hole(extents.query(), 8192, Extent::LastHole);
    assert!(!extents.query().expect_data);
    // What is known of data stays.
    assert_eq!(extents.data_end(0), Some(4096));
}

#[test]
fn a_hole_is_remembered_up_to_the_data_behind_it() {
    let mut extents = ExtentCache::empty(true);
    extents.found_hole(extents.query(), 4096, Extent::Hole(12288));
    assert_eq!(extents.hole_at(0), None);
    assert_eq!(extents.hole_at(8192), Some(Extent::Hole(12288)));
    assert_eq!(extents.hole_at(12288), None);
    extents.found_hole(extents.query(), 4096, Extent::LastHole);
    assert_eq!(extents.hole_at(1 << 40), Some(Extent::LastHole));
}

#[test]
fn what_is_written_into_a_hole_is_none_any_more() {
    let mut extents = ExtentCache::empty(true);
    extents.found_hole(extents.query(), 0, Extent::LastHole);
    // In order, as a sequential reader has it written: what is behind is kept.
    extents.insert_data(extents.generation(), 0, 4096);
    assert_eq!(extents.hole_at(0), None);
    assert_eq!(extents.hole_at(4096), Some(Extent::LastHole));
    extents.insert_data(extents.generation(), 8192, 12288);
    assert_eq!(extents.hole_at(8192), None);
    assert_eq!(extents.hole_at(12288), Some(Extent::LastHole));
}

#[test]
fn a_hole_that_was_asked_for_before_a_write_is_not_remembered() {
    let mut extents = ExtentCache::empty(true);
    let query = extents.query();
    extents.insert_data(extents.generation(), 0, 4096);
    extents.insert_data(extents.generation(), 1 << 20, (1 << 20) + 4096);
    extents.found_hole(query, 0, Extent::LastHole);
    assert_eq!(extents.hole_at(0), None);
}

#[test]
fn nothing_is_learnt_of_a_file_that_was_replaced() {
    let (old, new) = (Rc::new(1), Rc::new(2));
    let mut slot = FileSlot::empty(true);
    assert_eq!(slot.replace(Some(old.clone())), None);
    let generation = slot.extents_of(&old).unwrap().generation();
    slot.extents_of(&old)
        .unwrap()
        .insert_data(generation, 0, 4096);

    // An operation that began with the old file goes on while the object gets a new one.
    assert_eq!(slot.replace(Some(new.clone())), Some(old.clone()));
    assert_eq!(slot.extents_of(&new).unwrap().data_end(0), None);
    if let Some(extents) = slot.extents_of(&old) {
        extents.insert_data(extents.generation(), 0, 4096);
    }
    assert_eq!(slot.extents_of(&new).unwrap().data_end(0), None);
    // And so does one that asked when there was no file in place.
    slot.replace(None);
    assert!(slot.extents_of(&new).is_none());
}

/// A file with 8 blocks that is in place, as the object has it.
fn with_8_blocks() -> (Rc<i32>, FileSlot<Rc<i32>>, Snapshot) {
    let (file, mut slot, snapshot) = (Rc::new(1), FileSlot::empty(true), Snapshot::empty());
    slot.replace(Some(file.clone()));
    snapshot.publish(1, 8, 0, 0);
    (file, slot, snapshot)
}

#[test]
fn data_that_is_lost_between_the_question_and_the_answer_is_not_remembered() {
    let (file, mut slot, snapshot) = with_8_blocks();
    slot.refresh(&snapshot, 1, 8);
    let query = slot.extents_of(&file).unwrap().query();
    slot.refresh(&snapshot, 1, 7);
    let extents = slot.extents_of(&file).unwrap();
    extents.found_data(query, 0, 4096);
    assert_eq!(extents.data_end(0), None);
}

#[test]
fn data_that_is_lost_during_a_write_is_not_remembered() {
    let (file, mut slot, snapshot) = with_8_blocks();
    // Others wrote before, of which nothing was told.
    slot.refresh(&snapshot, 1, 32);
    let (_, generation) = slot.file_to_write().unwrap();
    slot.refresh(&snapshot, 1, 24);
    let extents = slot.extents_of(&file).unwrap();
    extents.insert_data(generation, 0, 4096);
    assert_eq!(extents.data_end(0), None);
}

#[test]
fn what_is_known_stays_as_long_as_blocks_are_added() {
    let (file, mut slot, snapshot) = with_8_blocks();
    let extents = slot.extents_of(&file).unwrap();
    extents.insert_data(extents.generation(), 0, 4096);
    slot.refresh(&snapshot, 1, 16);
    assert_eq!(snapshot.data_end(1, 16, 0), Some(4096));
    // Fewer than there were, though no fewer than when the data was written.
    assert_eq!(snapshot.data_end(1, 8, 0), None);
    slot.refresh(&snapshot, 1, 8);
    assert_eq!(snapshot.data_end(1, 8, 0), None);
    assert_eq!(slot.extents_of(&file).unwrap().data_end(0), None);
}

#[test]
fn what_is_known_is_forgotten_after_a_read_that_ends_too_early() {
    let (file, mut slot, snapshot) = with_8_blocks();
    let extents = slot.extents_of(&file).unwrap();
    extents.insert_data(extents.generation(), 0, 4096);
    snapshot.publish(1, 8, 0, 4096);
    let query = slot.extents_of(&file).unwrap().query();
    snapshot.doubt(2);
    assert_eq!(snapshot.data_end(1, 8, 0), Some(4096), "of another file");
    snapshot.doubt(1);
    assert_eq!(snapshot.data_end(1, 8, 0), None);
    // The file has as many blocks as before.
    slot.refresh(&snapshot, 1, 8);
    assert_eq!(snapshot.data_end(1, 8, 0), None);
    let extents = slot.extents_of(&file).unwrap();
    assert_eq!(extents.data_end(0), None);
    extents.found_data(query, 0, 4096);
    assert_eq!(extents.data_end(0), None, "asked before");
    // What is learnt from then on counts.
    extents.insert_data(extents.generation(), 0, 4096);
    snapshot.publish(1, 8, 0, 4096);
    slot.refresh(&snapshot, 1, 8);
    assert_eq!(snapshot.data_end(1, 8, 0), Some(4096));
}

#[test]
fn where_blocks_tell_nothing_no_data_is_remembered() {
    let mut extents = ExtentCache::empty(false);
    extents.insert_data(extents.generation(), 0, 4096);
    extents.found_data(extents.query(), 0, 4096);
    assert_eq!(extents.data_end(0), None);
    assert_eq!(extents.data(), (0, 0));
    // The question to ask first is.
    assert!(extents.query().expect_data);
    extents.found_hole(extents.query(), 4096, Extent::LastHole);
    assert_eq!(extents.hole_at(4096), Some(Extent::LastHole));
    extents.clear();
    extents.insert_data(extents.generation(), 0, 4096);
    assert_eq!(extents.data_end(0), None);
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
        let mut extents = ExtentCache::empty(true);
        let mut asked = None;
        for event in events {
            match event {
                Event::Write(from, to) => {
                    let generation = extents.generation();
                    file[from..to].fill(true);
                    extents.insert_data(generation, from as i64, to as i64);
                }
                Event::Ask(at) => {
                    let is_data = file[at];
                    let end = (at..BLOCKS).find(|&block| file[block] != is_data);
                    asked = Some((extents.query(), at as i64, is_data, end));
                }
                Event::Answer => {
                    if let Some((query, from, is_data, end)) = asked.take() {
                        let to = end.map_or(BLOCKS as i64, |end| end as i64);
                        match (is_data, end) {
                            (true, _) => extents.found_data(query, from, to),
                            (false, Some(_)) => extents.found_hole(query, from, Extent::Hole(to)),
                            (false, None) => extents.found_hole(query, from, Extent::LastHole),
                        }
                    }
                }
                Event::Truncate(from) => {
                    file[from..].fill(false);
                    extents.clear();
                }
            }
            for at in 0..BLOCKS {
                if let Some(end) = extents.data_end(at as i64) {
                    prop_assert!(file[at..end as usize].iter().all(|&data| data));
                }
                let hole_end = match extents.hole_at(at as i64) {
                    None => continue,
                    Some(Extent::Hole(end)) => end as usize,
                    _ => BLOCKS,
                };
                prop_assert!(file[at..hole_end].iter().all(|&data| !data));
            }
        }
    }
}
