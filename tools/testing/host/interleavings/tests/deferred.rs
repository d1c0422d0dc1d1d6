// SPDX-License-Identifier: GPL-2.0

//! Reads for which nobody waits: each is told of its end once, whatever becomes of its READs.

use super::daemon::{daemon, successor, threads, Manner};
use super::explore::all_orders;
use super::serving::reader;
use super::world::{world, World};
use crate::cache::ondemand::deferred::End;
use cachefiles_bindings::sched;
use kernel::error::code::{EINTR, EIO};
use kernel::error::Result;
use shuttle::thread::{spawn, JoinHandle};
use std::sync::{Arc, Mutex};

/// Reads that were begun, with what may come of them.
#[derive(Clone, Default)]
struct Reads(Arc<Mutex<Vec<Arc<End>>>>);

impl Reads {
    /// A task that begins to read so many pages, and then waits for the end, as for a page.
    fn begin(&self, world: &World, page: i64, pages: i64) -> JoinHandle<()> {
        let (world, reads) = (world.clone(), self.clone());
        spawn(move || {
            let end = world.defer(0, page, pages);
            reads.0.lock().unwrap().push(end.clone());
            end.wait();
        })
    }

    /// All of them were told, once each, of what is one of these.
    fn check(&self, expected: &[Result]) {
        for end in self.0.lock().unwrap().iter() {
            let told = end.told();
            assert_eq!(told.len(), 1, "told {told:?}");
            assert!(expected.contains(&told[0]), "told {told:?}");
        }
    }
}

#[test]
fn deferred_reads_and_readers_share_what_is_on_its_way() {
    all_orders("two deferred reads and a reader", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let reads = Reads::default();
        let others = [
            reads.begin(&world, 0, 2),
            reads.begin(&world, 1, 1),
            reader(&world, 0, 0),
        ];
        world.end(worker, [daemon], others);
        reads.check(&[Ok(())]);
    });
}

#[test]
fn a_deferred_read_gets_each_of_its_holes() {
    all_orders("deferred read of several holes", 2, || {
        let (world, worker) = world(1);
        world.fill(0, 1);
        world.fill(0, 3);
        let daemons = threads(&world, 1, [Manner::default(); 2]);
        let reads = Reads::default();
        let others = [reads.begin(&world, 0, 6), reader(&world, 0, 2)];
        world.end(worker, daemons, others);
        reads.check(&[Ok(())]);
    });
}

#[test]
fn an_empty_answer_fails_the_deferred_read_that_asked() {
    all_orders("deferred reads, first answer empty", 2, || {
        let (world, worker) = world(1);
        let manner = Manner {
            lies: 1,
            ..Manner::default()
        };
        let daemon = daemon(&world, 1, manner);
        let reads = Reads::default();
        let others = [reads.begin(&world, 0, 1), reads.begin(&world, 0, 1)];
        world.end(worker, [daemon], others);
        reads.check(&[Ok(()), Err(EIO)]);
        // The other one has asked again.
        let ends = reads.0.lock().unwrap();
        let failed = ends.iter().filter(|end| end.told()[0].is_err()).count();
        assert_eq!(failed, 1);
    });
}

#[test]
fn a_failed_answer_fails_all_deferred_reads_that_wait_for_it() {
    all_orders("deferred reads, first answer an errno", 2, || {
        let (world, worker) = world(1);
        let manner = Manner {
            fails: 1,
            ..Manner::default()
        };
        let daemon = daemon(&world, 1, manner);
        let reads = Reads::default();
        let others = [reads.begin(&world, 0, 2), reads.begin(&world, 0, 1)];
        world.end(worker, [daemon], others);
        reads.check(&[Ok(()), Err(EIO)]);
    });
}

#[test]
fn a_killed_reader_leaves_its_read_to_deferred_ones() {
    all_orders("deferred read beside a killed reader", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let victim = {
            let world = world.clone();
            spawn(move || match world.fetch_range(0, 0, 2) {
                Ok(there) => assert!(there),
                Err(error) => assert_eq!((error, sched::is_killed()), (EINTR, true)),
            })
        };
        let id: usize = victim.thread().id().into();
        let killer = spawn(move || sched::kill(id));
        let reads = Reads::default();
        let others = [victim, killer, reads.begin(&world, 0, 1)];
        world.end(worker, [daemon], others);
        reads.check(&[Ok(())]);
    });
}

#[test]
fn deferred_reads_survive_their_daemon() {
    for dies_at in 0..3 {
        all_orders(
            &format!("deferred reads, death at {dies_at}"),
            2,
            move || {
                let (world, worker) = world(1);
                let manner = Manner {
                    dies_at: Some(dies_at),
                    ..Manner::default()
                };
                let first = threads(&world, 1, [manner; 2]);
                let second = successor(&world, 2, Manner::default(), first);
                let reads = Reads::default();
                let others = [reads.begin(&world, 0, 1), reads.begin(&world, 1, 2)];
                world.end(worker, [second], others);
                reads.check(&[Ok(())]);
            },
        );
    }
}

#[test]
fn deferred_reads_end_with_the_cache() {
    all_orders("deferred reads against death of the cache", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let reads = Reads::default();
        let killer = {
            let world = world.clone();
            spawn(move || world.kill())
        };
        let others = [reads.begin(&world, 0, 2), reads.begin(&world, 1, 1), killer];
        world.end(worker, [daemon], others);
        reads.check(&[Ok(()), Err(EIO)]);
    });
}

#[test]
fn deferred_reads_end_with_a_refused_reopening() {
    all_orders("deferred reads, refused", 2, || {
        let (world, worker) = world(1);
        let manner = Manner {
            refuses: 3,
            ..Manner::default()
        };
        let daemon = daemon(&world, 1, manner);
        let reads = Reads::default();
        let others = [reads.begin(&world, 0, 2), reads.begin(&world, 1, 1)];
        world.end(worker, [daemon], others);
        reads.check(&[Ok(()), Err(EIO)]);
    });
}

#[test]
fn deferred_reads_end_with_their_object() {
    all_orders("deferred reads against a drop", 2, || {
        let (world, worker) = world(1);
        let daemon = daemon(&world, 1, Manner::default());
        let reads = Reads::default();
        let dropper = {
            let world = world.clone();
            spawn(move || world.drop_object(0))
        };
        let others = [
            reads.begin(&world, 0, 2),
            reads.begin(&world, 1, 1),
            dropper,
        ];
        world.end(worker, [daemon], others);
        reads.check(&[Ok(()), Err(EIO)]);
    });
}
