// SPDX-License-Identifier: GPL-2.0

use super::entry::Kind;
use super::table_tests::{fd_of, opened};
use super::world::Outcome;

#[test]
fn what_is_not_answered_in_time_fails() {
    let mut world = opened(1);
    world.set_timeout(3);
    let delivered = world.read(0, 0, 1).unwrap();
    world.daemon_read().unwrap();
    world.tick();
    let ready = world.read(0, 10, 1).unwrap();
    world.tick();
    assert!(!world.ended.contains_key(&delivered), "too early");
    world.tick();
    world.check();
    assert_eq!(world.ended[&delivered], Outcome::Failed);
    assert!(!world.cread(0, delivered), "the answer comes late");
    assert_eq!(world.in_table(), [ready]);
    world.tick();
    assert!(world.in_table().is_empty());
    // The object is as good as before.
    let id = world.read(0, 0, 1).unwrap();
    assert_eq!(world.daemon_read().unwrap().0, id);
    assert!(world.cread(0, id));
}

#[test]
fn what_came_after_the_clock_was_read_has_its_time_before_it() {
    let mut world = opened(2);
    world.set_timeout(3);
    let read = world.read(0, 0, 1).unwrap();
    let fd = fd_of(&world, 1);
    world.close_fd(fd, false);
    let open = world.submit(1, Kind::Open).unwrap();
    let (_, _) = (world.daemon_read().unwrap(), world.daemon_read().unwrap());
    let fd = fd_of(&world, 1);
    world.close_fd(fd, false);
    world.clock_is_behind();
    world.tick();
    assert!(!world.has_ready());
    assert_eq!(world.in_table(), [read, open]);
}

#[test]
fn a_reopen_that_is_not_answered_in_time_counts_as_refused() {
    let mut world = opened(1);
    world.daemon_dies();
    let read = world.read(0, 0, 1).unwrap();
    world.tick();
    world.run_reopens();
    let (open, _) = world.daemon_read().unwrap();
    world.set_timeout(2);
    while !world.ended.contains_key(&open) {
        world.tick();
        world.check();
    }
    assert_eq!(world.ended[&read], Outcome::Failed, "it is the older one");
    assert!(!world.copen(open, true), "the answer comes late");
    // The next read begins anew.
    let read = world.read(0, 0, 1).unwrap();
    world.run_reopens();
    let (open, _) = world.daemon_read().unwrap();
    assert!(world.copen(open, true));
    assert_eq!(world.daemon_read().unwrap().0, read);
}

#[test]
fn a_request_of_last_year_is_overdue_as_well() {
    let mut world = opened(1);
    let id = world.read(0, 0, 1).unwrap();
    world.pass(300 * 86_400);
    world.set_timeout(1);
    world.tick();
    assert_eq!(world.ended[&id], Outcome::Failed);
}

#[test]
fn a_close_that_nobody_reads_in_time_stays_to_be_read() {
    let mut world = opened(1);
    let fd = fd_of(&world, 0);
    let id = world.submit(0, Kind::Close(fd)).unwrap();
    world.set_timeout(1);
    for _ in 0..4 {
        world.tick();
        world.check();
    }
    assert!(world.released.contains(&id));
    world.drop_object(0);
    world.check();
    assert_eq!(world.daemon_read(), Some((id, Kind::Close(fd))));
    assert!(world.in_table().is_empty());
}
