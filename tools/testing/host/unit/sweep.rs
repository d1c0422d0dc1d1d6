// SPDX-License-Identifier: GPL-2.0

//! What the READs of an object are told of it, a few at a time, and what happens in between.

use super::entry::Kind;
use super::state::State;
use super::table_tests::{fd_of, opened};
use super::world::{Outcome, World};

/// A world with an open object and so many READs of it that the daemon has, and the same number
/// that it has not; those who tell them anything wait.
fn in_flight(reads: u64) -> World {
    let mut world = opened(1);
    for n in 0..2 * reads {
        world.read(0, 2 * n, 1).unwrap();
        if n % 2 == 0 {
            world.daemon_read().unwrap();
        }
    }
    world.sweeps_wait = true;
    world
}

/// The object's fd is closed, and another comes.
fn reopens(world: &mut World) {
    world.close_fd(fd_of(world, 0), false);
    world.run_reopens();
    let (id, kind) = world.daemon_read().expect("an OPEN");
    assert_eq!(kind, Kind::Open, "a READ went out without an fd");
    assert!(world.copen(id, true));
}

/// All who tell READs get to their end, and a daemon answers every READ once.
fn ends(mut world: World, reads: u64) {
    while world.sweep(0) {}
    world.check();
    let mut answered = 0;
    while let Some((id, _)) = world.daemon_read() {
        assert!(world.cread(0, id));
        answered += 1;
    }
    assert_eq!(answered, 2 * reads);
    assert!(world.in_table().is_empty());
}

#[test]
fn a_read_that_was_not_told_of_the_closing_is_not_handed_out() {
    let mut world = in_flight(2);
    world.close_fd(fd_of(&world, 0), false);
    assert!(world.has_ready());
    assert_eq!(world.daemon_read(), None);
    assert!(!world.has_ready());
    world.run_reopens();
    let (open, _) = world.daemon_read().unwrap();
    assert!(world.copen(open, true));
    ends(world, 2);
}

#[test]
fn an_object_is_open_again_before_all_were_told_that_it_was_closed() {
    for told in 0..5 {
        let mut world = in_flight(2);
        world.close_fd(fd_of(&world, 0), false);
        for _ in 0..told {
            world.sweep(0);
        }
        world.run_reopens();
        let (open, kind) = world.daemon_read().unwrap();
        assert_eq!(kind, Kind::Open);
        assert!(world.copen(open, true));
        world.check();
        ends(world, 2);
    }
}

#[test]
fn a_read_that_the_new_daemon_has_is_not_taken_away() {
    let mut world = in_flight(2);
    reopens(&mut world);
    // The second who tells them is ahead of the first.
    world.sweep(1);
    world.sweep(1);
    let (id, _) = world.daemon_read().unwrap();
    while world.sweep(0) {}
    world.check();
    let mut others = 0;
    while let Some((other, _)) = world.daemon_read() {
        assert_ne!(other, id, "handed out twice");
        others += 1;
    }
    assert_eq!(others, 3);
}

#[test]
fn an_fd_is_closed_before_all_were_told_of_it() {
    for told in 0..5 {
        let mut world = in_flight(2);
        reopens(&mut world);
        for _ in 0..told {
            world.sweep(told);
        }
        reopens(&mut world);
        world.check();
        ends(world, 2);
    }
}

#[test]
fn who_tells_reads_finds_its_place_again() {
    for answered in 0..4 {
        let mut world = in_flight(2);
        reopens(&mut world);
        world.sweep(1);
        // The next one to be told is answered, and so is one before it, and one behind.
        let ids = world.in_table();
        assert!(world.cfail(ids[answered]) || world.cread(0, ids[answered]));
        while world.sweep(0) {}
        world.check();
        let mut left = 0;
        while let Some((id, _)) = world.daemon_read() {
            assert!(world.cread(0, id));
            left += 1;
        }
        assert_eq!(left, 3);
    }
}

#[test]
fn restore_in_between_does_no_harm() {
    for told in 0..5 {
        let mut world = in_flight(2);
        reopens(&mut world);
        for n in 0..told {
            world.sweep(n);
        }
        world.restore();
        world.check();
        ends(world, 2);
    }
}

#[test]
fn an_object_that_goes_away_in_between_takes_its_reads_with_it() {
    for told in 0..5 {
        let mut world = in_flight(2);
        reopens(&mut world);
        for n in 0..told {
            world.sweep(n);
        }
        let ids = world.in_table();
        world.drop_object(0);
        while world.sweep(0) {}
        world.check();
        assert!(world.in_table().is_empty() && !world.has_ready());
        assert!(ids.iter().all(|id| world.ended[id] == Outcome::Failed));
        assert_eq!(world.objects[0].state(), State::Dropping);
    }
}
