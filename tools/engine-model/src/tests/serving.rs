// SPDX-License-Identifier: GPL-2.0

//! A daemon that is there and stays: opening, reading, joining, waking.

use super::daemon::{daemon, threads, Manner};
use super::explore::all_orders;
use super::world::{world, World};
use crate::ondemand::State;
use cachefiles_bindings::sched;
use kernel::error::code::{EBUSY, EINTR, ENOENT};
use shuttle::thread::{spawn, JoinHandle};

/// A reader that has to get its page.
pub(super) fn reader(world: &World, object: usize, page: i64) -> JoinHandle<()> {
    let world = world.clone();
    spawn(move || assert_eq!(world.fetch(object, page), Ok(true)))
}

#[test]
fn two_readers_get_their_pages() {
    for edge in [false, true] {
        all_orders(&format!("two readers, edge {edge}"), 2, move || {
            let (world, worker) = world(1);
            let manner = Manner {
                edge,
                ..Manner::default()
            };
            let daemon = daemon(&world, 1, manner);
            let readers = [reader(&world, 0, 0), reader(&world, 0, 1)];
            world.end(worker, [daemon], readers);
        });
    }
}

#[test]
fn readers_of_one_page_share_a_request_or_ask_again() {
    // The daemon's first answer brings no data: nobody may take the other's word for it.
    all_orders("joined readers, first answer empty", 2, || {
        let (world, worker) = world(1);
        let manner = Manner {
            lies: 1,
            ..Manner::default()
        };
        let daemon = daemon(&world, 1, manner);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let world = world.clone();
                spawn(move || {
                    // The one whose own READ was the empty one is told so.
                    let first = world.fetch(0, 0).unwrap();
                    assert!(first || world.fetch(0, 0).unwrap());
                })
            })
            .collect();
        world.end(worker, [daemon], readers);
    });
}

#[test]
fn exclusive_pollers_do_not_sleep_on_a_request() {
    for edge in [false, true] {
        all_orders(
            &format!("two exclusive threads, edge {edge}"),
            2,
            move || {
                let (world, worker) = world(1);
                let manner = Manner {
                    exclusive: true,
                    edge,
                    ..Manner::default()
                };
                let daemons = threads(&world, 1, [manner; 2]);
                let readers = [reader(&world, 0, 0), reader(&world, 0, 1)];
                world.end(worker, daemons, readers);
            },
        );
    }
}

#[test]
fn a_read_that_faults_costs_no_request() {
    for edge in [false, true] {
        all_orders(&format!("bad buffers, edge {edge}"), 2, move || {
            let (world, worker) = world(1);
            let manner = Manner {
                faults: 2,
                edge,
                ..Manner::default()
            };
            let daemon = daemon(&world, 1, manner);
            let readers = [reader(&world, 0, 0), reader(&world, 0, 1)];
            world.end(worker, [daemon], readers);
        });
    }
}

#[test]
fn two_openers_of_one_object() {
    all_orders("two openers", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let openers: Vec<_> = (0..2)
            .map(|_| {
                let world = world.clone();
                spawn(move || {
                    let opened = world.engine().open(&world.objects[0]);
                    assert!(matches!(opened, Ok(()) | Err(EBUSY)), "{opened:?}");
                    if opened.is_ok() {
                        assert_eq!(world.engine().state_of(&world.objects[0]), State::Open);
                        assert_eq!(world.fetch(0, 0), Ok(true));
                    }
                })
            })
            .collect();
        world.end(worker, [daemon], openers);
    });
}

#[test]
fn an_opener_and_a_reopen_meet() {
    // The worker finds that there is an OPEN already: that is no reason to fail it.
    all_orders("opener beside a reader", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let opener = {
            let world = world.clone();
            spawn(move || {
                let opened = world.engine().open(&world.objects[0]);
                assert!(matches!(opened, Ok(()) | Err(EBUSY)), "{opened:?}");
            })
        };
        let reader = reader(&world, 0, 0);
        world.end(worker, [daemon], [opener, reader]);
    });
}

#[test]
fn a_refused_opener_is_told() {
    all_orders("refused opener", 3, || {
        let (world, worker) = world(1);
        let manner = Manner {
            refuses: 1,
            ..Manner::default()
        };
        let daemon = daemon(&world, 1, manner);
        let opener = {
            let world = world.clone();
            spawn(move || {
                let object = &world.objects[0];
                assert_eq!(world.engine().open(object), Err(ENOENT));
                assert_eq!(world.engine().open(object), Ok(()));
            })
        };
        world.end(worker, [daemon], [opener]);
    });
}

#[test]
fn a_killed_reader_leaves_and_others_stay() {
    all_orders("killed reader", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let victim = {
            let world = world.clone();
            spawn(move || match world.fetch(0, 0) {
                Ok(there) => assert!(there),
                Err(error) => assert_eq!((error, sched::is_killed()), (EINTR, true)),
            })
        };
        let id: usize = victim.thread().id().into();
        let killer = spawn(move || sched::kill(id));
        let other = reader(&world, 0, 0);
        world.end(worker, [daemon], [victim, killer, other]);
    });
}

#[test]
fn a_killed_opener_leaves_the_object_to_readers() {
    all_orders("killed opener", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let victim = {
            let world = world.clone();
            spawn(move || match world.engine().open(&world.objects[0]) {
                Ok(()) | Err(EBUSY) => {}
                Err(error) => assert_eq!((error, sched::is_killed()), (EINTR, true)),
            })
        };
        let id: usize = victim.thread().id().into();
        let killer = spawn(move || sched::kill(id));
        let other = reader(&world, 0, 0);
        world.end(worker, [daemon], [victim, killer, other]);
    });
}
