// SPDX-License-Identifier: GPL-2.0

//! A daemon that is there and stays: opening, reading, joining, waking.

use super::daemon::{daemon, successor, threads, Manner};
use super::explore::all_orders;
use super::world::{world, World};
use crate::cache::object::Object;
use crate::cache::ondemand::State;
use cachefiles_bindings::sched;
use kernel::error::code::{EBUSY, EINTR, EIO, ENOENT};
use shuttle::thread::{spawn, JoinHandle};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

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
        let empty = Arc::new(AtomicU32::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (world, empty) = (world.clone(), empty.clone());
                spawn(move || {
                    // Only the one whose own READ was the empty one is told so.
                    if !world.fetch(0, 0).unwrap() {
                        assert_eq!(empty.fetch_add(1, Ordering::SeqCst), 0);
                        assert_eq!(world.fetch(0, 0), Ok(true));
                    }
                })
            })
            .collect();
        world.end(worker, [daemon], readers);
    });
}

#[test]
fn a_read_that_the_daemon_fails_fails_all_who_wait_for_it() {
    all_orders("joined readers, first answer an errno", 2, || {
        let (world, worker) = world(1);
        let manner = Manner {
            fails: 1,
            ..Manner::default()
        };
        let daemon = daemon(&world, 1, manner);
        let failed = Arc::new(AtomicU32::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (world, failed) = (world.clone(), failed.clone());
                spawn(move || match world.fetch(0, 0) {
                    Ok(there) => assert!(there),
                    Err(error) => {
                        assert_eq!(error, EIO);
                        failed.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        world.end(worker, [daemon], readers);
        assert!((1..=2).contains(&failed.load(Ordering::SeqCst)));
    });
}

#[test]
fn a_read_is_failed_while_its_daemon_dies() {
    all_orders("cfail against death", 2, || {
        let (world, worker) = world(1);
        let manner = Manner {
            fails: 1,
            dies_at: Some(2),
            ..Manner::default()
        };
        let first = threads(&world, 1, [manner; 2]);
        let second = successor(&world, 2, Manner::default(), first);
        let hopeful = |page| {
            let world = world.clone();
            spawn(move || assert!(matches!(world.fetch(0, page), Ok(true) | Err(EIO))))
        };
        let readers = [hopeful(0), hopeful(1)];
        world.end(worker, [second], readers);
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
fn a_read_that_faults_gives_back_only_its_own() {
    // By the closing of its new fd the OPEN is back before the read fails: another thread may have
    // it by then.
    all_orders("bad buffer beside another thread", 2, || {
        let (world, worker) = world(1);
        let faulty = Manner {
            faults: 1,
            ..Manner::default()
        };
        let daemons = threads(&world, 1, [faulty, Manner::default()]);
        let readers = [reader(&world, 0, 0)];
        world.end(worker, daemons, readers);
    });
}

#[test]
fn a_thread_that_faults_and_leaves_has_others_woken() {
    all_orders("bad buffer beside a sleeping thread", 2, || {
        let (world, worker) = world(1);
        let good = Manner {
            exclusive: true,
            edge: true,
            ..Manner::default()
        };
        let leaver = Manner {
            faults: 1,
            leaves: true,
            ..good
        };
        let daemons = threads(&world, 1, [leaver, good]);
        let readers = [reader(&world, 0, 0)];
        world.end(worker, daemons, readers);
    });
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
                    let opened = Object::open(&world.objects[0]);
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
                let opened = Object::open(&world.objects[0]);
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
                assert_eq!(Object::open(object), Err(ENOENT));
                assert_eq!(Object::open(object), Ok(()));
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
            spawn(move || match Object::open(&world.objects[0]) {
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
