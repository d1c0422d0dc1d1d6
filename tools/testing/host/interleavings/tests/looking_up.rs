// SPDX-License-Identifier: GPL-2.0

//! Look-ups that wait for the daemon, and for which no worker does.

use super::daemon::{daemon, successor, Manner};
use super::explore::all_orders;
use super::world::{world, World};
use crate::cache::object::Object;
use cachefiles_bindings::sched;
use kernel::error::code::{EINTR, EIO};
use shuttle::thread::{spawn, JoinHandle};
use std::sync::atomic::Ordering;

/// A task that has the object looked up, and reads it then.
fn looker(world: &World, is_found: bool) -> JoinHandle<()> {
    let world = world.clone();
    spawn(move || {
        let object = &world.objects[0];
        Object::look_up(object).unwrap();
        assert_eq!(object.lookup.wait(), Ok(()));
        assert_eq!(object.found.load(Ordering::SeqCst), is_found);
        if is_found {
            assert_eq!(world.fetch(0, 0), Ok(true));
        }
    })
}

#[test]
fn a_look_up_goes_on_with_the_answer() {
    for refuses in [0, 1] {
        all_orders(&format!("look-up, {refuses} refused"), 3, move || {
            let (world, worker) = world(1);
            let manner = Manner {
                refuses,
                ..Manner::default()
            };
            let daemon = daemon(&world, 1, manner);
            let looker = looker(&world, refuses == 0);
            world.end(worker, [daemon], [looker]);
        });
    }
}

#[test]
fn a_look_up_outlives_its_daemon() {
    all_orders("look-up, the daemon dies", 2, || {
        let (world, worker) = world(1);
        let manner = Manner {
            dies_at: Some(0),
            ..Manner::default()
        };
        let first = daemon(&world, 1, manner);
        let second = successor(&world, 2, Manner::default(), [first]);
        let looker = looker(&world, true);
        world.end(worker, [second], [looker]);
    });
}

#[test]
fn an_object_goes_away_while_it_is_looked_up() {
    // What was found is dropped once, by the look-up or by who drops the object, and nothing goes
    // on with it afterwards.
    all_orders("look-up, the object goes", 3, || {
        let (world, worker) = world(1);
        world.closes_late();
        let daemon = daemon(&world, 1, Manner::default());
        let looker = {
            let world = world.clone();
            spawn(move || {
                Object::look_up(&world.objects[0]).unwrap();
                world.drop_object(0);
            })
        };
        world.end(worker, [daemon], [looker]);
    });
}

#[test]
fn a_task_that_waits_for_a_look_up_is_killed() {
    all_orders("look-up, who waits is killed", 2, || {
        let (world, worker) = world(1);
        world.closes_late();
        let daemon = daemon(&world, 1, Manner::default());
        let victim = {
            let world = world.clone();
            spawn(move || {
                let object = &world.objects[0];
                Object::look_up(object).unwrap();
                if let Err(error) = object.lookup.wait() {
                    assert_eq!((error, sched::is_killed()), (EINTR, true));
                }
            })
        };
        let id: usize = victim.thread().id().into();
        let killer = spawn(move || sched::kill(id));
        // A worker drops the object, when nobody waits for it any more.
        let dropper = {
            let world = world.clone();
            spawn(move || {
                victim.join().unwrap();
                world.drop_object(0);
            })
        };
        world.end(worker, [daemon], [killer, dropper]);
    });
}

#[test]
fn a_look_up_ends_with_its_cache() {
    all_orders("look-up, the cache dies", 3, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let looker = {
            let world = world.clone();
            spawn(move || {
                let object = &world.objects[0];
                match Object::look_up(object) {
                    Ok(()) => assert_eq!(object.lookup.wait(), Ok(())),
                    Err(error) => assert_eq!(error, EIO),
                }
            })
        };
        let killer = {
            let world = world.clone();
            spawn(move || world.kill())
        };
        world.end(worker, [daemon], [looker, killer]);
    });
}
