// SPDX-License-Identifier: GPL-2.0

//! Objects that are put away, and caches that die, in the middle of things.

use super::daemon::{daemon, successor, threads, Manner};
use super::explore::all_orders;
use super::world::{world, World};
use kernel::error::code::EIO;
use kext::errno::EBADFD;
use shuttle::thread::{spawn, JoinHandle};

/// A reader that gets its page or an I/O error.
fn hopeful(world: &World, object: usize, page: i64) -> JoinHandle<()> {
    let world = world.clone();
    spawn(move || match world.fetch(object, page) {
        Ok(there) => assert!(there),
        Err(error) => assert_eq!(error, EIO),
    })
}

fn dropper(world: &World, object: usize) -> JoinHandle<()> {
    let world = world.clone();
    spawn(move || world.drop_object(object))
}

fn killer(world: &World) -> JoinHandle<()> {
    let world = world.clone();
    spawn(move || world.kill())
}

#[test]
fn an_object_is_dropped_while_it_is_read() {
    for edge in [false, true] {
        all_orders(&format!("drop against read, edge {edge}"), 2, move || {
            let (world, worker) = world(1);
            let manner = Manner {
                edge,
                ..Manner::default()
            };
            let daemon = daemon(&world, 1, manner);
            let others = [hopeful(&world, 0, 0), dropper(&world, 0)];
            world.end(worker, [daemon], others);
        });
    }
}

#[test]
fn an_object_is_dropped_while_it_is_opened() {
    all_orders("drop against open", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let opener = {
            let world = world.clone();
            spawn(move || match world.engine().open(&world.objects[0]) {
                Ok(()) => {}
                // The second where the daemon accepts what is just being dropped.
                Err(error) => assert!([EIO, EBADFD].contains(&error), "{error:?}"),
            })
        };
        let others = [opener, dropper(&world, 0)];
        world.end(worker, [daemon], others);
    });
}

#[test]
fn an_object_is_dropped_while_one_of_two_threads_opens_it() {
    all_orders("drop against two threads", 2, || {
        let (world, worker) = world(1);
        let daemon = threads(&world, 1, [Manner::default(); 2]);
        let others = [hopeful(&world, 0, 0), dropper(&world, 0)];
        world.end(worker, daemon, others);
    });
}

#[test]
fn an_object_is_dropped_while_its_daemon_dies() {
    for at in 0..3 {
        all_orders(
            &format!("drop against death at message {at}"),
            1,
            move || {
                let (world, worker) = world(1);
                let manner = Manner {
                    dies_at: Some(at),
                    ..Manner::default()
                };
                let first = daemon(&world, 1, manner);
                let daemons = [successor(&world, 2, Manner::default(), [first])];
                let others = [hopeful(&world, 0, 0), dropper(&world, 0)];
                world.end(worker, daemons, others);
            },
        );
    }
}

#[test]
fn a_drop_leaves_other_objects_alone() {
    all_orders("drop beside a read", 2, || {
        let (world, worker) = world(2);
        let daemon = daemon(&world, 1, Manner::default());
        let reader = super::serving::reader(&world, 1, 0);
        let others = [hopeful(&world, 0, 0), dropper(&world, 0), reader];
        world.end(worker, [daemon], others);
    });
}

#[test]
fn a_cache_dies_while_it_is_read() {
    all_orders("death of the cache against reads", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let others = [hopeful(&world, 0, 0), hopeful(&world, 0, 1), killer(&world)];
        world.end(worker, [daemon], others);
    });
}

#[test]
fn a_cache_dies_while_an_object_is_dropped() {
    all_orders("death of the cache against a drop", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let others = [hopeful(&world, 0, 0), dropper(&world, 0), killer(&world)];
        world.end(worker, [daemon], others);
    });
}
