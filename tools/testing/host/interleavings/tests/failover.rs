// SPDX-License-Identifier: GPL-2.0

//! Daemons that die, refuse, or are restored too early.

use super::daemon::{daemon, daemon_with_a_child, successor, threads, Manner};
use super::explore::{all_orders, by_chance};
use super::serving::reader;
use super::world::world;
use crate::cache::object::Object;
use cachefiles_protocol::WireMessage;
use kernel::error::code::{EINVAL, EIO, ENOENT};
use shuttle::thread::spawn;

#[test]
fn a_daemon_that_dies_of_any_message_is_replaced_without_restore() {
    for at in 0..3 {
        all_orders(&format!("death at message {at}"), 2, move || {
            let (world, worker) = world(1);
            let manner = Manner {
                dies_at: Some(at),
                ..Manner::default()
            };
            let first = daemon(&world, 1, manner);
            let daemons = [successor(&world, 2, Manner::default(), [first])];
            let readers = [reader(&world, 0, 0)];
            world.end(worker, daemons, readers);
        });
    }
}

#[test]
fn a_cache_that_lingers_is_handed_over_whoever_has_the_old_fds() {
    for (at, late) in [0, 1, 2]
        .into_iter()
        .flat_map(|at| [(at, false), (at, true)])
    {
        all_orders(
            &format!("hand-over at message {at}, {late}"),
            1,
            move || {
                let (world, worker) = world(1);
                let manner = Manner {
                    dies_at: Some(at),
                    ..Manner::default()
                };
                let daemons = [daemon_with_a_child(&world, 1, manner, late)];
                let readers = [reader(&world, 0, 0), reader(&world, 0, 1)];
                world.end(worker, daemons, readers);
            },
        );
    }
}

#[test]
fn two_readers_survive_a_death_too() {
    all_orders("death with two readers", 1, || {
        let (world, worker) = world(1);
        let manner = Manner {
            dies_at: Some(2),
            ..Manner::default()
        };
        let first = daemon(&world, 1, manner);
        let daemons = [successor(&world, 2, Manner::default(), [first])];
        let readers = [reader(&world, 0, 0), reader(&world, 0, 1)];
        world.end(worker, daemons, readers);
    });
}

#[test]
fn restore_at_any_moment_does_no_harm() {
    for edge in [false, true] {
        all_orders(&format!("restore, edge {edge}"), 2, move || {
            let (world, worker) = world(1);
            let manner = Manner {
                edge,
                ..Manner::default()
            };
            let daemon = daemon(&world, 1, manner);
            let restorer = {
                let world = world.clone();
                spawn(move || world.restore())
            };
            let readers = [reader(&world, 0, 0), reader(&world, 0, 1)];
            world.end(worker, [daemon], readers.into_iter().chain([restorer]));
        });
    }
}

#[test]
fn restore_beside_two_threads_hands_no_open_to_both() {
    // By chance: in turn, it would come after more orders than are tried.
    by_chance("restore of an open beside two threads", 20_000, || {
        let (world, worker) = world(1);
        let daemons = threads(&world, 1, [Manner::default(); 2]);
        let opener = {
            let world = world.clone();
            spawn(move || assert_eq!(Object::open(&world.objects[0]), Ok(())))
        };
        let restorer = {
            let world = world.clone();
            spawn(move || world.restore())
        };
        world.end(worker, daemons, [opener, restorer]);
    });
}

#[test]
fn restore_brings_back_what_a_thread_forgot() {
    // A daemon that takes a READ and forgets it, though it keeps its fd: only `restore` helps.
    all_orders("restore of a forgotten read", 3, || {
        let (world, worker) = world(1);
        let first = {
            let world = world.clone();
            spawn(move || {
                kernel_ext::anon_file::enter_process(1);
                let poller = world.poller(false);
                let read = || loop {
                    match world.read(1024, false).unwrap() {
                        Some(message) => return WireMessage::try_from(&message.bytes[..]).unwrap(),
                        None => poller.wait(),
                    }
                };
                let open = read().msg_id();
                world.engine().copen(open.into(), Ok(4096)).unwrap();
                let forgotten = read();
                world.restore();
                let again = read();
                assert_eq!(forgotten, again);
                let id = again.msg_id();
                assert_eq!(world.engine().copen(id.into(), Ok(1)), Err(EINVAL));
                world.giving_back(kernel_ext::anon_file::close_all);
            })
        };
        let second = successor(&world, 2, Manner::default(), [first]);
        let readers = [reader(&world, 0, 0)];
        world.end(worker, [second], readers);
    });
}

#[test]
fn restore_wakes_who_sleeps() {
    all_orders("restore beside a sleeping thread", 2, || {
        let (world, worker) = world(1);
        let forgetful = Manner {
            exclusive: true,
            edge: true,
            forgets: 1,
            ..Manner::default()
        };
        let good = Manner {
            forgets: 0,
            ..forgetful
        };
        let daemons = threads(&world, 1, [forgetful, good]);
        let readers = [reader(&world, 0, 0)];
        world.end(worker, daemons, readers);
    });
}

#[test]
fn a_daemon_that_refuses_to_reopen_is_asked_again() {
    for refuses in 1..3 {
        all_orders(&format!("{refuses} refused reopens"), 2, move || {
            let (world, worker) = world(1);
            let manner = Manner {
                refuses,
                ..Manner::default()
            };
            let daemon = daemon(&world, 1, manner);
            let readers = [reader(&world, 0, 0)];
            world.end(worker, [daemon], readers);
        });
    }
}

#[test]
fn a_daemon_that_always_refuses_fails_the_readers() {
    all_orders("three refused reopens, two readers", 1, || {
        let (world, worker) = world(1);
        let manner = Manner {
            refuses: 3,
            ..Manner::default()
        };
        let daemon = daemon(&world, 1, manner);
        let readers: Vec<_> = (0..2)
            .map(|page| {
                let world = world.clone();
                // Whoever comes late begins a series of its own.
                spawn(move || assert!(matches!(world.fetch(0, page), Ok(true) | Err(EIO))))
            })
            .collect();
        world.end(worker, [daemon], readers);
    });
}

#[test]
fn an_open_that_one_thread_refuses_reaches_no_other() {
    all_orders("refused open, two threads", 2, || {
        let (world, worker) = world(1);
        // The answer is to come before any time passes.
        kernel_ext::workqueue::hold_time(true);
        let manner = Manner {
            refuses: 1,
            closes_first: true,
            ..Manner::default()
        };
        let daemons = threads(&world, 1, [manner; 2]);
        let opener = {
            let world = world.clone();
            spawn(move || assert_eq!(Object::open(&world.objects[0]), Err(ENOENT)))
        };
        world.end(worker, daemons, [opener]);
    });
}

#[test]
fn an_open_whose_fd_is_closed_without_an_answer_is_not_lost() {
    all_orders("open dropped by one of two threads", 2, || {
        let (world, worker) = world(1);
        let manner = Manner {
            drops: 1,
            ..Manner::default()
        };
        let daemons = threads(&world, 1, [manner, Manner::default()]);
        let opener = {
            let world = world.clone();
            spawn(move || assert_eq!(Object::open(&world.objects[0]), Ok(())))
        };
        world.end(worker, daemons, [opener]);
    });
}

#[test]
fn a_worker_out_of_memory_tries_again_or_tells() {
    all_orders("reopen out of memory", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        cachefiles_bindings::let_allocations_fail(3);
        let reader = {
            let world = world.clone();
            spawn(move || {
                let fetched = world.fetch(0, 0);
                assert_ne!(fetched, Ok(false));
            })
        };
        world.end(worker, [daemon], [reader]);
    });
}
