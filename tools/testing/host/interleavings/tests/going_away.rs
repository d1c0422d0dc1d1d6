// SPDX-License-Identifier: GPL-2.0

//! Objects that are put away, and caches that die, in the middle of things.

use super::daemon::{daemon, successor, threads, Manner};
use super::explore::all_orders;
use super::world::{world, World};
use crate::cache::object::Object;
use kernel::error::code::EIO;
use kernel_ext::errno::EBADFD;
use shuttle::sync::mpsc::{channel, Receiver, Sender};
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
            spawn(move || match Object::open(&world.objects[0]) {
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

/// A daemon that takes the cache over once those of before have ended, who killed the cache among
/// them; it lets `begun` know.
fn heir(
    world: &World,
    before: impl IntoIterator<Item = JoinHandle<()>> + Send + 'static,
    begun: Sender<()>,
) -> JoinHandle<()> {
    let world = world.clone();
    spawn(move || {
        for thread in before {
            thread.join().unwrap();
        }
        world.revive();
        begun.send(()).unwrap();
        daemon(&world, 2, Manner::default()).join().unwrap();
    })
}

/// A reader of the second life, who gets what it wants.
fn late(world: &World, begins: Receiver<()>) -> JoinHandle<()> {
    let world = world.clone();
    spawn(move || {
        begins.recv().unwrap();
        assert_eq!(world.fetch(0, 3), Ok(true), "in the second life");
    })
}

#[test]
fn a_cache_that_died_is_taken_over() {
    for reads in [1, 2] {
        all_orders(
            &format!("another life, against {reads} reads"),
            1,
            move || {
                let (world, worker) = world(1);
                let first = daemon(&world, 1, Manner::default());
                let (begun, begins) = channel();
                let heir = heir(&world, [killer(&world), first], begun);
                // From the first life, with luck from the second.
                let mut others: Vec<_> = (0..reads).map(|page| hopeful(&world, 0, page)).collect();
                others.push(late(&world, begins));
                world.end(worker, [heir], others);
            },
        );
    }
}

#[test]
fn a_cache_is_taken_over_after_its_daemon_has_died() {
    for at in 0..2 {
        all_orders(
            &format!("another life, after a death at message {at}"),
            1,
            move || {
                let (world, worker) = world(1);
                let manner = Manner {
                    dies_at: Some(at),
                    ..Manner::default()
                };
                let first = daemon(&world, 1, manner);
                let (begun, begins) = channel();
                let heir = heir(&world, [killer(&world), first], begun);
                let others = [hopeful(&world, 0, 0), late(&world, begins)];
                world.end(worker, [heir], others);
            },
        );
    }
}

#[test]
fn an_object_that_reopens_when_the_cache_dies_is_opened_again() {
    all_orders("another life, after a death with an OPEN", 1, || {
        let (world, worker) = world(1);
        let killer = {
            let world = world.clone();
            spawn(move || {
                // Until the OPEN for the first reader is in the table, which nobody takes.
                let poller = world.poller(false);
                while !world.is_readable() {
                    poller.wait();
                }
                world.kill();
            })
        };
        let (begun, begins) = channel();
        let heir = heir(&world, [killer], begun);
        let others = [hopeful(&world, 0, 0), late(&world, begins)];
        world.end(worker, [heir], others);
    });
}
