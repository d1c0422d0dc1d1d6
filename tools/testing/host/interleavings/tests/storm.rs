// SPDX-License-Identifier: GPL-2.0

//! Everything at once: more tasks than all orders could be tried of.

use super::daemon::{successor, threads, Manner};
use super::explore::by_chance;
use super::world::{world, World, PAGES};
use crate::cache::object::Object;
use crate::cache::ondemand::deferred::End;
use cachefiles_bindings::sched::{self, choose};
use kernel::error::code::{EBUSY, EINTR, EIO, ENOENT};
use kernel::error::Result;
use kernel_ext::errno::EBADFD;
use shuttle::thread::{spawn, JoinHandle};
use std::sync::{Arc, Mutex};

const OBJECTS: u32 = 2;

fn any_manner() -> Manner {
    Manner {
        exclusive: choose(2) == 1,
        edge: choose(2) == 1,
        refuses: choose(3) as u32,
        dies_at: (choose(4) > 0).then(|| choose(6) as u32),
        faults: choose(2) as u32,
        lies: choose(2) as u32,
        fails: choose(2) as u32,
        drops: choose(2) as u32,
        closes: choose(2) as u32,
        ..Manner::default()
    }
}

/// What may come of a request in all this.
fn check<T>(result: Result<T>) {
    match result {
        Ok(_) => {}
        Err(error) if error == EINTR => assert!(sched::is_killed()),
        Err(error) => assert!([EIO, ENOENT, EBUSY, EBADFD].contains(&error), "{error:?}"),
    }
}

/// Of reads for which nobody waits.
type Ends = Arc<Mutex<Vec<Arc<End>>>>;

fn any_reader(world: &World, ends: &Ends) -> JoinHandle<()> {
    let (world, ends) = (world.clone(), ends.clone());
    spawn(move || {
        let mut mine = Vec::new();
        for _ in 0..2 {
            let object = choose(OBJECTS as usize);
            if choose(4) == 0 {
                check(Object::open(&world.objects[object]));
            } else if choose(2) == 0 {
                let page = choose(PAGES as usize - 1) as i64;
                mine.push(world.defer(object, page, 1 + choose(2) as i64));
            } else {
                let page = choose(PAGES as usize - 1) as i64;
                check(world.fetch_range(object, page, 1 + choose(2) as i64));
            }
        }
        for end in mine {
            end.wait();
            ends.lock().unwrap().push(end);
        }
    })
}

/// Readers and openers on two objects; daemons of two threads that err and die one after the
/// other; `restore` at will; a signal, a drop, and now and then the death of the cache.
fn storm() {
    let (world, worker) = world(OBJECTS);
    let ends = Ends::default();
    let mut others: Vec<_> = (0..3).map(|_| any_reader(&world, &ends)).collect();

    let first = threads(&world, 1, [any_manner(), any_manner()]);
    let second = successor(&world, 2, any_manner(), first);
    let third = successor(&world, 3, Manner::default(), [second]);

    let victim: usize = others[0].thread().id().into();
    others.push({
        let world = world.clone();
        spawn(move || {
            for _ in 0..choose(3) {
                world.restore();
            }
            if choose(2) == 1 {
                sched::kill(victim);
            }
        })
    });
    if choose(2) == 1 {
        let world = world.clone();
        others.push(spawn(move || world.drop_object(1)));
    }
    if choose(4) == 0 {
        let world = world.clone();
        others.push(spawn(move || world.kill()));
    }
    world.end(worker, [third], others);
    for end in ends.lock().unwrap().iter() {
        let told = end.told();
        assert_eq!(told.len(), 1, "told {told:?}");
    }
}

#[test]
fn nothing_is_lost_in_a_storm() {
    by_chance("storm", 40_000, storm);
}
