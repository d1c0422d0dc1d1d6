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
fn a_reopen_that_is_not_answered_in_time_fails_nobody_and_is_made_anew() {
    let mut world = opened(1);
    world.daemon_dies();
    world.set_timeout(2);
    let mut made = Vec::new();
    // Many more of them go without an answer than the daemon could refuse in a row.
    for second in 0..20 {
        made.push(world.read(0, 10 * second, 1).unwrap());
        world.run_reopens();
        if let Some((id, kind)) = world.daemon_read() {
            assert_eq!((world.copen(id + 1, true), kind), (false, Kind::Open));
        }
        world.tick();
        world.check();
        if let [.., old, young] = made[..] {
            assert_eq!(world.ended.get(&old), Some(&Outcome::Failed));
            assert!(!world.ended.contains_key(&young), "its time is not over");
        }
    }
    // The next one is answered.
    world.run_reopens();
    let (open, kind) = world.daemon_read().unwrap();
    assert_eq!(kind, Kind::Open);
    assert!(world.copen(open, true));
    assert_eq!(world.daemon_read().unwrap().0, made[19]);
    assert!(world.cread(0, made[19]));
    assert!(world.in_table().is_empty());
}

#[test]
fn a_reopen_that_is_not_answered_ends_with_the_last_read() {
    let mut world = opened(1);
    world.daemon_dies();
    world.set_timeout(2);
    let read = world.read(0, 0, 1).unwrap();
    world.run_reopens();
    let (open, _) = world.daemon_read().unwrap();
    for _ in 0..4 {
        world.tick();
        world.check();
    }
    assert_eq!(world.ended[&read], Outcome::Failed);
    assert!(!world.copen(open, true), "the answer comes late");
    assert!(world.in_table().is_empty() && !world.is_clock_set());
    // The next read begins anew.
    let read = world.read(0, 0, 1).unwrap();
    world.run_reopens();
    let (open, _) = world.daemon_read().unwrap();
    assert!(world.copen(open, true));
    assert_eq!(world.daemon_read().unwrap().0, read);
}

#[test]
fn timeouts_between_refusals_do_not_count() {
    let mut world = opened(1);
    world.daemon_dies();
    world.tries = 2;
    let read = world.read(0, 0, 1).unwrap();
    for refuses in [true, false, false] {
        world.run_reopens();
        let (open, _) = world.daemon_read().unwrap();
        if refuses {
            assert!(world.copen(open, false));
            continue;
        }
        // As if the read was much younger than this OPEN.
        world.set_timeout(1000);
        world.was_made_before(open, 1100);
        world.tick();
        assert!(world.ended.contains_key(&open) && !world.ended.contains_key(&read));
    }
    world.run_reopens();
    let (open, _) = world.daemon_read().unwrap();
    assert!(world.copen(open, false));
    assert_eq!(world.ended[&read], Outcome::Failed, "the second refusal");
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

#[test]
fn a_read_ahead_has_its_time_from_when_somebody_waits() {
    let mut world = opened(1);
    world.set_timeout(3);
    let ahead = world.read_ahead(0, 0, 8).unwrap();
    let alone = world.read_ahead(0, 8, 8).unwrap();
    world.daemon_read().unwrap();
    world.tick();
    world.tick();
    assert_eq!(world.read(0, 0, 4), Ok(ahead));
    world.tick();
    // The second to join it has what is left of the time of the first.
    assert_eq!(world.read(0, 0, 4), Ok(ahead));
    assert_eq!(world.in_table(), [ahead], "{:?}", world.ended);
    assert_eq!(world.ended[&alone], Outcome::Failed);
    world.tick();
    assert_eq!(world.in_table(), [ahead]);
    world.tick();
    assert_eq!(world.ended[&ahead], Outcome::Failed);
    world.check();
}
