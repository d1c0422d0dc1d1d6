// SPDX-License-Identifier: GPL-2.0

use super::state::State;
use super::table::Refused;
use super::table_tests::{fd_of, opened};
use super::world::{Outcome, World};

#[test]
fn a_read_ahead_is_joined_by_its_begin_and_stays_without_its_readers() {
    let mut world = opened(1);
    let own = world.read(0, 40, 4).unwrap();
    let first = world.read_ahead(0, 0, 8).unwrap();
    let second = world.read_ahead(0, 8, 8).unwrap();
    // More new ones than are looked at for one that covers all of it.
    for at in 0..8 {
        world.read(0, 100 + at * 10, 1).unwrap();
    }
    // One that came before them, too, if it covers all.
    assert_eq!(world.read(0, 40, 4), Ok(own));
    assert_ne!(world.read(0, 40, 5), Ok(own));
    assert_eq!(world.read(0, 0, 4), Ok(first));
    assert_eq!(world.read(0, 4, 8), Ok(first), "the rest is in the next");
    assert_eq!(world.read(0, 8, 20), Ok(second));
    assert!(![first, second].contains(&world.read(0, 16, 1).unwrap()));
    for _ in 0..2 {
        world.kill_waiter(first);
    }
    world.check();
    assert!(
        world.in_table().contains(&first),
        "it went with its readers"
    );
}

#[test]
fn what_is_asked_for_by_any_read_is_not_asked_for_ahead() {
    let mut world = opened(1);
    assert_eq!(world.asked_up_to(0, 0), None);
    world.read(0, 4, 8).unwrap();
    assert_eq!(world.asked_up_to(0, 3), None);
    assert_eq!(world.asked_up_to(0, 4), Some(12));
    assert_eq!(world.asked_up_to(0, 11), Some(12));
    assert_eq!(world.asked_up_to(0, 12), None);
    world.read_ahead(0, 12, 4).unwrap();
    for at in 0..8 {
        world.read(0, 100 + at * 10, 1).unwrap();
    }
    // Behind those that are looked at of the newest, and of the oldest.
    assert_eq!(world.asked_up_to(0, 15), Some(16));
    assert_eq!(world.asked_up_to(0, 5), Some(12));
}

#[test]
fn reads_ahead_that_nobody_waits_for_open_nothing_again() {
    for is_awaited in [false, true] {
        let mut world = opened(2);
        let ahead: Vec<_> = (0..3)
            .map(|page| world.read_ahead(0, page, 1).unwrap())
            .collect();
        let other = world.read_ahead(1, 0, 1).unwrap();
        if is_awaited {
            assert_eq!(world.read(0, 2, 1), Ok(ahead[2]));
        }
        world.daemon_read().unwrap();
        let fd = fd_of(&world, 0);
        world.close_fd(fd, true);
        world.check();
        let (left, state) = if is_awaited {
            ([&ahead[..], &[other]].concat(), State::Reopening)
        } else {
            (vec![other], State::Close)
        };
        assert_eq!(world.in_table(), left);
        assert_eq!(world.objects[0].state(), state);
        world.run_reopens();
        let opens = world.in_table().len() - left.len();
        assert_eq!(opens, usize::from(is_awaited));
    }
}

#[test]
fn a_read_ahead_is_for_open_objects() {
    let mut world = World::new(1);
    assert_eq!(world.read_ahead(0, 0, 1), Err(Refused::NotOpen));
    let mut world = opened(1);
    world.leave(0);
    assert_eq!(world.read_ahead(0, 0, 1), Err(Refused::NotOpen));
    let mut world = opened(1);
    world.kill_cache();
    assert_eq!(world.read_ahead(0, 0, 1), Err(Refused::Gone));
}

#[test]
fn reads_ahead_are_bounded() {
    let mut world = opened(1);
    let first = world.read_ahead(0, 0, 1).unwrap();
    for page in 1..256 {
        world.read_ahead(0, page, 1).unwrap();
    }
    assert_eq!(world.read_ahead(0, 256, 1), Err(Refused::NotNeeded));
    world.read(0, 256, 1).unwrap();
    assert_eq!(world.daemon_read().unwrap().0, first);
    assert!(world.cread(0, first));
    world.read_ahead(0, 257, 1).unwrap();
    assert_eq!(world.read_ahead(0, 258, 1), Err(Refused::NotNeeded));
    world.leave(0);
    world.check();
}

#[test]
fn an_object_that_leaves_takes_what_the_daemon_has_not_seen() {
    let mut world = opened(1);
    let seen = world.read_ahead(0, 0, 1).unwrap();
    assert_eq!(world.daemon_read().unwrap().0, seen);
    let own = world.read(0, 5, 1).unwrap();
    let unseen = world.read_ahead(0, 1, 1).unwrap();
    world.leave(0);
    world.check();
    assert_eq!(world.in_table(), [seen, own]);
    assert_eq!(world.ended[&unseen], Outcome::Failed);
    assert!(world.cread(0, seen), "what it is at is answered as ever");
}

#[test]
fn an_object_that_leaves_takes_them_however_many_there_are() {
    let mut world = opened(1);
    world.batch = 16;
    let seen: Vec<_> = (0..100)
        .map(|page| {
            let id = world.read_ahead(0, page, 1).unwrap();
            assert_eq!(world.daemon_read().unwrap().0, id);
            id
        })
        .collect();
    for page in 100..240 {
        world.read_ahead(0, page, 1).unwrap();
    }
    world.leave(0);
    world.check();
    assert_eq!(world.in_table(), seen);
}
