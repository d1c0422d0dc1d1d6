// SPDX-License-Identifier: GPL-2.0

use super::entry::Kind;
use super::state::State;
use super::table::Refused;
use super::world::{Outcome, World};
use std::num::NonZeroU32;

/// A world whose objects are all open.
pub(super) fn opened(objects: usize) -> World {
    let mut world = World::new(objects);
    for object in 0..objects {
        world.submit(object, Kind::Open).unwrap();
        let (id, _) = world.daemon_read().unwrap();
        assert!(world.copen(id, true));
    }
    world.check();
    world
}

pub(super) fn fd_of(world: &World, object: usize) -> NonZeroU32 {
    world.objects[object].fd().unwrap()
}

#[test]
fn a_read_is_handed_out_once_and_completed() {
    let mut world = opened(1);
    let id = world.read(0, 0, 4096).unwrap();
    assert_eq!(
        world.daemon_read(),
        Some((id, Kind::Read { off: 0, len: 4096 }))
    );
    assert_eq!(world.daemon_read(), None);
    assert!(world.cread(0, id));
    assert!(!world.cread(0, id));
    assert_eq!(world.ended[&id], Outcome::Done);
}

#[test]
fn requests_are_handed_out_in_turn() {
    let mut world = opened(2);
    let first = world.read(0, 0, 1).unwrap();
    assert_eq!(world.daemon_read().unwrap().0, first);
    let ids: Vec<u32> = (1..5)
        .map(|n| world.read(n as usize % 2, n * 10, 1).unwrap())
        .collect();
    // The first one comes back, and still has to wait for those behind it.
    world.restore();
    let mut seen = Vec::new();
    while let Some((id, _)) = world.daemon_read() {
        seen.push(id);
    }
    assert_eq!(seen, [&ids[..], &[first]].concat());
}

#[test]
fn a_read_inside_another_waits_for_that_one() {
    let mut world = opened(1);
    let id = world.read(0, 0, 8192).unwrap();
    assert_eq!(world.read(0, 4096, 4096), Ok(id));
    assert_ne!(world.read(0, 4096, 4097), Ok(id));
    // One of two waiters is killed: the other's request stays.
    world.kill_waiter(id);
    assert!(world.in_table().contains(&id));
    world.kill_waiter(id);
    assert!(!world.in_table().contains(&id));
    world.check();
}

#[test]
fn death_of_the_daemon_gives_reads_back_without_restore() {
    let mut world = opened(1);
    let delivered = world.read(0, 0, 1).unwrap();
    world.daemon_read();
    let waiting = world.read(0, 10, 1).unwrap();
    world.daemon_dies();
    world.check();
    assert!(
        !world.has_ready(),
        "a READ is offered that nobody could complete"
    );
    world.run_reopens();
    let (open, kind) = world.daemon_read().unwrap();
    assert_eq!(kind, Kind::Open);
    assert_eq!(world.daemon_read(), None);
    assert!(world.copen(open, true));
    let mut seen = [
        world.daemon_read().unwrap().0,
        world.daemon_read().unwrap().0,
    ];
    seen.sort_unstable();
    assert_eq!(seen, [delivered, waiting]);
    assert!(world.cread(0, delivered) && world.cread(0, waiting));
    world.check();
}

#[test]
fn an_open_whose_fd_died_is_handed_out_again() {
    let mut world = World::new(1);
    let id = world.submit(0, Kind::Open).unwrap();
    world.daemon_read().unwrap();
    world.daemon_dies();
    world.check();
    assert_eq!(world.daemon_read(), Some((id, Kind::Open)));
    assert!(world.copen(id, true));
    assert_eq!(world.objects[0].state(), State::Open);
}

#[test]
fn an_open_answered_after_its_fd_was_closed_fails() {
    let mut world = World::new(1);
    let id = world.submit(0, Kind::Open).unwrap();
    world.daemon_read().unwrap();
    world.close_fd(fd_of(&world, 0), false);
    assert!(world.copen(id, true));
    assert_eq!(world.ended[&id], Outcome::Failed);
    assert_eq!(world.objects[0].state(), State::Close);
}

#[test]
fn an_open_whose_fd_a_living_daemon_closed_waits_for_its_answer() {
    for accept in [false, true] {
        let mut world = World::new(1);
        let id = world.submit(0, Kind::Open).unwrap();
        world.daemon_read().unwrap();
        world.close_fd(fd_of(&world, 0), false);
        world.tick();
        world.check();
        assert_eq!(world.daemon_read(), None, "another thread got it");
        // A size does not help any more: there is no fd.
        assert!(world.copen(id, accept));
        assert_eq!(world.ended[&id], Outcome::Failed);
        assert!(world.in_table().is_empty());
    }
}

#[test]
fn an_open_whose_fd_was_closed_without_an_answer_comes_back_after_a_while() {
    let mut world = World::new(1);
    let id = world.submit(0, Kind::Open).unwrap();
    world.daemon_read().unwrap();
    world.close_fd(fd_of(&world, 0), false);
    let mut seconds = 0;
    while !world.has_ready() {
        world.tick();
        world.check();
        seconds += 1;
        assert!(seconds < 10, "it never comes back");
    }
    assert!(seconds > 2, "it came back after {seconds} s");
    assert_eq!(world.daemon_read(), Some((id, Kind::Open)));
    assert!(world.copen(id, true));
    assert_eq!(world.objects[0].state(), State::Open);
}

#[test]
fn an_open_whose_fd_is_closed_after_the_clock_was_read_waits_too() {
    let mut world = World::new(1);
    world.submit(0, Kind::Open).unwrap();
    world.daemon_read().unwrap();
    world.close_fd(fd_of(&world, 0), false);
    world.clock_is_behind();
    world.tick();
    world.check();
    assert!(!world.has_ready());
}

#[test]
fn restore_brings_back_an_open_whose_fd_was_closed() {
    let mut world = World::new(1);
    let id = world.submit(0, Kind::Open).unwrap();
    world.daemon_read().unwrap();
    world.close_fd(fd_of(&world, 0), false);
    world.restore();
    assert_eq!(world.daemon_read(), Some((id, Kind::Open)));
}

#[test]
fn an_open_that_could_not_be_handed_over_comes_back_at_once() {
    let mut world = World::new(1);
    let id = world.submit(0, Kind::Open).unwrap();
    world.daemon_read_faults();
    world.check();
    assert!(world.fds.is_empty());
    assert_eq!(world.daemon_read(), Some((id, Kind::Open)));
}

#[test]
fn an_open_that_was_never_handed_out_cannot_be_answered() {
    let mut world = World::new(1);
    let id = world.submit(0, Kind::Open).unwrap();
    assert!(!world.copen(id, true));
    assert!(!world.copen(id, false));
    assert!(!world.copen(id + 1, true));
    assert_eq!(world.submit(0, Kind::Open), Err(Refused::NotNeeded));
}

#[test]
fn restore_leaves_an_open_with_the_daemon_that_holds_its_fd() {
    let mut world = World::new(1);
    let id = world.submit(0, Kind::Open).unwrap();
    world.daemon_read().unwrap();
    world.restore();
    world.restore();
    assert_eq!(world.daemon_read(), None);
    assert!(world.copen(id, true));
    assert_eq!(world.ended[&id], Outcome::Done);
}

#[test]
fn a_read_of_a_closed_object_has_it_opened_again() {
    let mut world = opened(1);
    world.daemon_dies();
    assert_eq!(world.objects[0].state(), State::Close);
    let id = world.read(0, 0, 1).unwrap();
    assert_eq!(world.objects[0].state(), State::Reopening);
    world.run_reopens();
    let (open, _) = world.daemon_read().unwrap();
    assert!(world.copen(open, true));
    assert_eq!(world.daemon_read().unwrap().0, id);
}

#[test]
fn a_reopen_that_is_refused_for_good_fails_the_reads() {
    let mut world = opened(1);
    let id = world.read(0, 0, 1).unwrap();
    world.daemon_dies();
    for _ in 0..world.tries {
        assert!(!world.ended.contains_key(&id));
        world.run_reopens();
        let (open, kind) = world.daemon_read().unwrap();
        assert_eq!(kind, Kind::Open);
        assert!(world.copen(open, false));
        world.check();
    }
    assert_eq!(world.ended[&id], Outcome::Failed);
    assert_eq!(world.objects[0].state(), State::Close);
    // The next read starts from the beginning.
    let next = world.read(0, 0, 1).unwrap();
    world.run_reopens();
    let (open, _) = world.daemon_read().unwrap();
    assert!(world.copen(open, true));
    assert_eq!(world.daemon_read().unwrap().0, next);
}

#[test]
fn a_reopen_is_tried_without_end_where_that_is_wanted() {
    let mut world = opened(1);
    world.tries = 0;
    let id = world.read(0, 0, 1).unwrap();
    world.daemon_dies();
    for _ in 0..1000 {
        world.run_reopens();
        let (open, kind) = world.daemon_read().unwrap();
        assert_eq!(kind, Kind::Open);
        assert!(world.copen(open, false));
    }
    assert!(!world.ended.contains_key(&id));
    world.run_reopens();
    let (open, _) = world.daemon_read().unwrap();
    assert!(world.copen(open, true));
    assert_eq!(world.daemon_read().unwrap().0, id);
}

#[test]
fn a_request_that_does_not_fit_does_not_hold_up_those_behind_it() {
    let mut world = World::new(2);
    let id = world.submit(0, Kind::Open).unwrap();
    world.daemon_read().unwrap();
    assert!(world.copen(id, true));
    let long = world.submit(1, Kind::Open).unwrap();
    let read = world.read(0, 0, 1).unwrap();
    world.table.pass_over(long);
    assert_eq!(world.daemon_read().unwrap().0, read);
    assert_eq!(world.daemon_read().unwrap().0, long);
}

#[test]
fn a_read_can_be_failed_once_it_was_read_and_only_once() {
    let mut world = opened(1);
    let id = world.read(0, 0, 1).unwrap();
    assert!(!world.cfail(id), "it was never handed out");
    world.daemon_read().unwrap();
    assert!(world.cfail(id));
    assert_eq!(world.ended[&id], Outcome::Failed);
    world.check();
    assert!(!world.cfail(id));
    assert!(!world.cread(0, id));
}

#[test]
fn a_read_that_came_back_can_be_failed_and_other_requests_cannot() {
    let mut world = opened(1);
    let id = world.read(0, 0, 1).unwrap();
    world.daemon_read().unwrap();
    world.daemon_dies();
    world.run_reopens();
    let (open, kind) = world.daemon_read().unwrap();
    assert_eq!(kind, Kind::Open);
    assert!(!world.cfail(open));
    assert!(world.cfail(id));
    world.check();
    assert!(world.copen(open, true));
    assert!(world.in_table().is_empty());
}

#[test]
fn a_close_is_done_when_it_is_read_or_when_the_fd_is_closed() {
    let mut world = opened(2);
    for object in 0..2 {
        let fd = fd_of(&world, object);
        let id = world.submit(object, Kind::Close(fd)).unwrap();
        if object == 0 {
            assert_eq!(world.daemon_read(), Some((id, Kind::Close(fd))));
        } else {
            world.close_fd(fd, false);
        }
        assert_eq!(world.ended[&id], Outcome::Done);
        world.check();
    }
    let closed = NonZeroU32::new(1).unwrap();
    assert_eq!(world.submit(1, Kind::Close(closed)), Err(Refused::NotOpen));
}

#[test]
fn a_dropped_object_takes_its_requests_and_no_others_with_it() {
    let mut world = opened(2);
    let mine = world.read(0, 0, 1).unwrap();
    let other = world.read(1, 0, 1).unwrap();
    world.drop_object(0);
    world.check();
    assert_eq!(world.ended[&mine], Outcome::Failed);
    assert_eq!(world.in_table(), [other]);
    assert_eq!(world.read(0, 0, 1), Err(Refused::Gone));
    assert_eq!(world.submit(0, Kind::Open), Err(Refused::Gone));
}

#[test]
fn a_dead_cache_takes_nothing() {
    let mut world = opened(1);
    let id = world.read(0, 0, 1).unwrap();
    world.kill_cache();
    assert_eq!(world.ended[&id], Outcome::Failed);
    assert_eq!(world.read(0, 0, 1), Err(Refused::Gone));
    world.daemon_dies();
    world.run_reopens();
    assert!(world.in_table().is_empty());
}
