// SPDX-License-Identifier: GPL-2.0

use super::entry::Kind;
use super::world::World;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Open(usize),
    Read(usize, u64, u64),
    ReadAhead(usize, u64, u64),
    KillWaiter(usize),
    DaemonRead,
    DaemonReadFaults,
    Copen(usize, bool),
    Cread(usize, usize),
    Cfail(usize),
    CloseFd(usize),
    DaemonDies,
    Tick,
    Timeout(u32),
    Restore,
    RunReopens,
    Sweep(usize),
    Close(usize),
    DropObject(usize),
    KillCache,
}

const OBJECTS: usize = 3;

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..OBJECTS).prop_map(Op::Open),
        8 => (0..OBJECTS, 0u64..8, 1u64..4).prop_map(|(o, off, len)| Op::Read(o, off, len)),
        3 => (0..OBJECTS, 0u64..8, 1u64..4).prop_map(|(o, off, len)| Op::ReadAhead(o, off, len)),
        3 => (0usize..20).prop_map(Op::KillWaiter),
        12 => Just(Op::DaemonRead),
        1 => Just(Op::DaemonReadFaults),
        8 => (0usize..20, prop::bool::weighted(0.7)).prop_map(|(n, ok)| Op::Copen(n, ok)),
        6 => (0..OBJECTS, 0usize..20).prop_map(|(o, n)| Op::Cread(o, n)),
        2 => (0usize..20).prop_map(Op::Cfail),
        3 => (0usize..4).prop_map(Op::CloseFd),
        2 => Just(Op::DaemonDies),
        4 => Just(Op::Tick),
        1 => (0u32..4).prop_map(Op::Timeout),
        2 => Just(Op::Restore),
        6 => Just(Op::RunReopens),
        6 => (0usize..4).prop_map(Op::Sweep),
        1 => (0..OBJECTS).prop_map(Op::Close),
        1 => (0..OBJECTS).prop_map(Op::DropObject),
        1 => prop::bool::weighted(0.1)
            .prop_map(|kill| if kill { Op::KillCache } else { Op::Restore }),
    ];
    prop::collection::vec(op, 0..120)
}

/// Errors are part of the game: what counts is the state of the world after it.
fn apply(world: &mut World, op: Op) {
    let pick = |world: &World, n: usize| {
        let ids = world.in_table();
        (!ids.is_empty()).then(|| ids[n % ids.len()])
    };
    match op {
        Op::Open(object) => {
            let _ = world.submit(object, Kind::Open);
        }
        Op::Read(object, off, len) => {
            let _ = world.read(object, off, len);
        }
        Op::ReadAhead(object, off, len) => {
            let _ = world.read_ahead(object, off, len);
        }
        Op::KillWaiter(n) => {
            if let Some(id) = pick(world, n) {
                world.kill_waiter(id);
            }
        }
        Op::DaemonRead => {
            let _ = world.daemon_read();
        }
        Op::DaemonReadFaults => world.daemon_read_faults(),
        Op::Copen(n, accept) => {
            if let Some(id) = pick(world, n) {
                world.copen(id, accept);
            }
        }
        Op::Cread(object, n) => {
            if let Some(id) = pick(world, n) {
                world.cread(object, id);
            }
        }
        Op::Cfail(n) => {
            if let Some(id) = pick(world, n) {
                world.cfail(id);
            }
        }
        Op::CloseFd(n) => {
            if let Some(fd) = world.fds.keys().nth(n).copied() {
                world.close_fd(fd, false);
            }
        }
        Op::DaemonDies => world.daemon_dies(),
        Op::Tick => world.tick(),
        Op::Timeout(seconds) => world.set_timeout(seconds),
        Op::Restore => world.restore(),
        Op::RunReopens => world.run_reopens(),
        Op::Sweep(n) => {
            world.sweep(n);
        }
        Op::Close(object) => {
            // There is one at most: who drops the object sends it.
            let state = &world.objects[object];
            if let (Some(fd), false) = (state.fd(), state.has_close()) {
                let _ = world.submit(object, Kind::Close(fd));
            }
        }
        Op::DropObject(object) => {
            world.leave(object);
            world.drop_object(object);
        }
        Op::KillCache => world.kill_cache(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happened before: once a daemon does its work, every request ends.
    #[test]
    fn no_request_is_ever_lost(ops in ops()) {
        let mut world = World::new(OBJECTS);
        world.sweeps_wait = true;
        for op in ops {
            apply(&mut world, op);
            world.check();
        }
        // The last daemon dies, and a good one takes over; nobody writes `restore`.
        world.daemon_dies();
        world.set_timeout(0);
        for _ in 0..1000 {
            world.check();
            world.run_reopens();
            while world.sweep(0) {}
            match world.daemon_read() {
                Some((id, Kind::Open)) => prop_assert!(world.copen(id, true)),
                Some((id, Kind::Read { .. })) => {
                    let mut done = false;
                    for object in 0..OBJECTS {
                        done |= world.cread(object, id);
                    }
                    prop_assert!(done);
                }
                Some((_, Kind::Close(_))) => {}
                None if world.is_clock_set() => world.tick(),
                None => break,
            }
        }
        prop_assert_eq!(world.in_table(), Vec::<u32>::new());
    }
}
