// SPDX-License-Identifier: GPL-2.0

//! READs ahead of those who read: nobody waits for one as it is made, and none is left at the end.

use super::daemon::{daemon, daemon_with_a_child, successor, threads, Manner};
use super::explore::{all_orders, once};
use super::serving::reader;
use super::world::{world, World, PAGES};
use crate::cache::object::Object;
use crate::cache::ondemand::Engine;
use cachefiles_bindings::sched;
use cachefiles_protocol::WireMessage;
use kernel::error::code::{EINTR, EIO};
use kernel_ext::delayed_work::Delayed;
use kernel_ext::errno::ETIMEDOUT;
use kernel_ext::fs::PAGE;
use shuttle::thread::{spawn, JoinHandle};

/// A reader of the first page, who asks for so many pages behind it, as for one who reads in
/// sequence, and then reads them.
fn sequential(world: &World, ahead: i64) -> JoinHandle<()> {
    let world = world.clone();
    spawn(move || {
        assert_eq!(world.fetch(0, 0), Ok(true));
        world.read_ahead(0, 1, ahead);
        for page in 1..=ahead {
            assert_eq!(world.fetch(0, page), Ok(true));
        }
    })
}

/// A task that asks for pages ahead, and does not read them.
fn asking(world: &World, page: i64, pages: i64) -> JoinHandle<()> {
    let world = world.clone();
    spawn(move || world.read_ahead(0, page, pages))
}

/// The object is open, as one that is read.
fn opened(world: &World) -> JoinHandle<()> {
    reader(world, 0, 7)
}

#[test]
fn readers_join_what_is_asked_for_ahead() {
    all_orders("a sequential reader, and another one", 2, || {
        let (world, worker) = world(1);
        let daemons = threads(&world, 1, [Manner::default(); 2]);
        let others = [sequential(&world, 2), reader(&world, 0, 2)];
        world.end(worker, daemons, others);
    });
}

#[test]
fn a_reader_of_more_than_one_read_ahead_gets_all() {
    all_orders("a reader across two READs ahead", 2, || {
        let (world, worker) = world(1);
        let daemons = threads(&world, 1, [Manner::default(); 2]);
        let others = {
            let world = world.clone();
            spawn(move || {
                assert_eq!(world.fetch(0, 7), Ok(true));
                world.read_ahead(0, 0, 2);
                // From the first on, until there is no hole left: as `fill` does it.
                for page in 0..3 {
                    assert_eq!(world.fetch_range(0, page, 3 - page), Ok(true));
                }
            })
        };
        world.end(worker, daemons, [others]);
    });
}

#[test]
fn a_failed_read_ahead_is_asked_for_once_more() {
    for (fails, lies) in [(1, 0), (0, 1)] {
        all_orders(
            &format!("READ ahead, fails {fails}, lies {lies}"),
            2,
            move || {
                let (world, worker) = world(1);
                world.fill(0, 0);
                let manner = Manner {
                    fails,
                    lies,
                    ..Manner::default()
                };
                let (known, daemon) = (opened_by(&world), daemon(&world, 1, manner));
                let task = {
                    let world = world.clone();
                    spawn(move || {
                        known.join().unwrap();
                        world.read_ahead(0, 1, 1);
                        // It may have joined the one that fails, or have made the one that lies.
                        while world.fetch(0, 1) != Ok(true) {}
                    })
                };
                world.end(worker, [daemon], [task]);
            },
        );
    }
}

/// A task that has the object opened, without a READ.
fn opened_by(world: &World) -> JoinHandle<()> {
    let world = world.clone();
    spawn(move || Object::open(&world.objects[0]).unwrap())
}

#[test]
fn a_killed_reader_leaves_the_read_ahead() {
    all_orders("READ ahead, its reader is killed", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let victim = {
            let world = world.clone();
            spawn(move || match world.fetch(0, 1) {
                Ok(there) => assert!(there),
                Err(error) => assert_eq!((error, sched::is_killed()), (EINTR, true)),
            })
        };
        let id: usize = victim.thread().id().into();
        let killer = spawn(move || sched::kill(id));
        let others = [victim, killer, sequential(&world, 1)];
        world.end(worker, [daemon], others);
    });
}

#[test]
fn reads_ahead_survive_their_daemon() {
    for dies_at in 1..4 {
        all_orders(&format!("READs ahead, death at {dies_at}"), 2, move || {
            let (world, worker) = world(1);
            let manner = Manner {
                dies_at: Some(dies_at),
                ..Manner::default()
            };
            let first = threads(&world, 1, [manner; 2]);
            let second = successor(&world, 2, Manner::default(), first);
            let others = [sequential(&world, 2)];
            world.end(worker, [second], others);
        });
    }
}

#[test]
fn reads_ahead_of_a_cache_that_lingers_are_handed_over() {
    for late in [false, true] {
        all_orders(&format!("READs ahead handed over, {late}"), 1, move || {
            let (world, worker) = world(1);
            let manner = Manner {
                dies_at: Some(2),
                ..Manner::default()
            };
            let daemons = [daemon_with_a_child(&world, 1, manner, late)];
            let others = [sequential(&world, 2)];
            world.end(worker, daemons, others);
        });
    }
}

#[test]
fn reads_ahead_go_with_their_object() {
    all_orders("READs ahead against a drop", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let task = {
            let (world, known) = (world.clone(), opened(&world));
            spawn(move || {
                known.join().unwrap();
                let asking = asking(&world, 0, 2);
                world.drop_object(0);
                asking.join().unwrap();
            })
        };
        world.end(worker, [daemon], [task]);
    });
}

#[test]
fn an_object_goes_though_its_reads_ahead_are_never_answered() {
    all_orders("READs ahead, never answered, against a drop", 2, || {
        let (world, worker) = world(1);
        world.fill(0, 7);
        let manner = Manner {
            ignores: 9,
            ..Manner::default()
        };
        let daemon = daemon(&world, 1, manner);
        let task = {
            let (world, known) = (world.clone(), opened_by(&world));
            spawn(move || {
                known.join().unwrap();
                world.read_ahead(0, 0, 2);
                world.drop_object(0);
            })
        };
        world.end(worker, [daemon], [task]);
    });
}

#[test]
fn reads_ahead_end_with_the_cache() {
    all_orders("READs ahead against death of the cache", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let task = {
            let world = world.clone();
            spawn(move || {
                for page in 0..2 {
                    match world.fetch(0, page) {
                        Ok(there) => assert!(there),
                        Err(error) => assert_eq!(error, EIO),
                    }
                    world.read_ahead(0, page + 1, 2);
                }
            })
        };
        let killer = {
            let world = world.clone();
            spawn(move || world.kill())
        };
        world.end(worker, [daemon], [task, killer]);
    });
}

/// A daemon of this task has opened the object.
fn open_by_hand(world: &World) {
    kernel_ext::anon_file::enter_process(1);
    let opener = opened_by(world);
    let poller = world.poller(false);
    let open = loop {
        match world.read(1024, false).unwrap() {
            Some(message) => break WireMessage::try_from(&message.bytes[..]).unwrap(),
            None => poller.wait(),
        }
    };
    let size = PAGES * PAGE;
    let answered = world.engine().copen(open.msg_id().into(), Ok(size));
    answered.unwrap();
    opener.join().unwrap();
}

/// The ranges, in pages, of all READs that are there to be read.
fn ranges(world: &World) -> Vec<(u64, u64)> {
    let page = PAGE as u64;
    let mut ranges = Vec::new();
    while let Some(message) = world.read(1024, false).unwrap() {
        let WireMessage::Read(read) = WireMessage::try_from(&message.bytes[..]).unwrap() else {
            panic!("no READ");
        };
        ranges.push((read.off / page, (read.off + read.len) / page));
    }
    ranges
}

#[test]
fn what_a_reader_asks_for_itself_is_not_asked_for_ahead() {
    once(|| {
        let (world, worker) = world(1);
        open_by_hand(&world);
        let page = PAGE as u64;
        world.engine().send_read(&world.objects[0], page, 2 * page);
        // It begins in the middle of that, and before it.
        world.read_ahead_in(0, 2, 3, 3);
        world.read_ahead_in(0, 0, 8, 8);
        assert_eq!(ranges(&world), [(1, 3), (3, 5), (0, 8)]);
        kernel_ext::anon_file::close_all();
        world.kill();
        world.end(worker, None::<JoinHandle<()>>, []);
    });
}

#[test]
fn a_read_ahead_has_its_time_from_when_somebody_waits() {
    once(|| {
        let (world, worker) = world(1);
        open_by_hand(&world);
        kernel_ext::workqueue::hold_time(true);
        world.set_timeout(5);
        world.read_ahead(0, 0, 1);
        kernel_ext::task::pass(400);
        let reader = {
            let world = world.clone();
            spawn(move || assert_eq!(world.fetch(0, 0), Err(ETIMEDOUT)))
        };
        while world.engine().waiters_of(&world.objects[0]) != [2] {
            kernel_ext::task::cond_resched();
        }
        let look_after = |ticks| {
            kernel_ext::task::pass(ticks);
            Engine::run(world.pin.cache.engine.clone());
            world.engine().ids_in_table().len()
        };
        assert_eq!(
            look_after(300),
            1,
            "after seven seconds, three of them waited for"
        );
        assert_eq!(look_after(300), 0);
        reader.join().unwrap();
        kernel_ext::anon_file::close_all();
        world.end(worker, None::<JoinHandle<()>>, []);
    });
}

#[test]
fn reads_ahead_alone_have_nothing_opened_again() {
    all_orders("fd closed with READs ahead only", 2, || {
        let (world, worker) = world(1);
        let manner = Manner {
            closes: 1,
            ..Manner::default()
        };
        let daemon = daemon(&world, 1, manner);
        let task = {
            let (world, known) = (world.clone(), opened_by(&world));
            spawn(move || {
                known.join().unwrap();
                world.read_ahead(0, 0, 2);
                assert_eq!(world.fetch(0, 1), Ok(true));
            })
        };
        world.end(worker, [daemon], [task]);
    });
}
