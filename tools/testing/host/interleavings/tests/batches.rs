// SPDX-License-Identifier: GPL-2.0

//! Many READs of one object: the lock is let go of before all of them know what became of it.

use super::daemon::{successor, threads, Manner};
use super::explore::{all_orders, by_chance, once};
use super::serving::reader;
use super::world::{world, Inner, World};
use crate::cache::ondemand::State;
use cachefiles_bindings::{forget_steps, most_steps, sched};
use cachefiles_protocol::{WireMessage, MAX_MESSAGE_SIZE, READ_COMPLETE};
use kernel::error::code::{EINTR, EIO};
use kernel_ext::anon_file;
use kernel_ext::fs::PAGE;
use shuttle::thread::{spawn, JoinHandle};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// Two threads, of which one closes the fd of the first READ that it gets.
fn closing_threads(world: &World) -> [JoinHandle<()>; 2] {
    let closes = Manner {
        closes: 1,
        ..Manner::default()
    };
    threads(world, 1, [Manner::default(), closes])
}

fn readers(world: &World) -> [JoinHandle<()>; 2] {
    [reader(world, 0, 0), reader(world, 0, 1)]
}

#[test]
fn an_fd_is_closed_while_its_reads_become_ready() {
    all_orders("fd closed between batches", 2, || {
        let (world, worker) = world(1);
        let daemons = closing_threads(&world);
        let readers = readers(&world);
        world.end(worker, daemons, readers);
    });
}

#[test]
fn two_fds_are_closed_while_their_reads_become_ready() {
    all_orders("fds closed between batches", 1, || {
        let (world, worker) = world(1);
        let closes = Manner {
            closes: 1,
            ..Manner::default()
        };
        let daemons = threads(&world, 1, [closes; 2]);
        let readers = readers(&world);
        world.end(worker, daemons, readers);
    });
}

#[test]
fn restore_comes_between_batches() {
    all_orders("restore between batches", 1, || {
        let (world, worker) = world(1);
        let daemons = closing_threads(&world);
        let restorer = {
            let world = world.clone();
            spawn(move || world.restore())
        };
        let others = readers(&world).into_iter().chain([restorer]);
        world.end(worker, daemons, others);
    });
}

#[test]
fn an_object_is_dropped_between_batches() {
    all_orders("drop between batches", 1, || {
        let (world, worker) = world(1);
        let daemons = closing_threads(&world);
        let hopeful = |page| {
            let world = world.clone();
            spawn(move || {
                let fetched = world.fetch(0, page);
                assert!(matches!(fetched, Ok(true) | Err(EIO)));
            })
        };
        let dropper = {
            let world = world.clone();
            spawn(move || world.drop_object(0))
        };
        let others = [hopeful(0), hopeful(1), dropper];
        world.end(worker, daemons, others);
    });
}

#[test]
fn a_reader_is_killed_between_batches() {
    by_chance("killed between batches", 10_000, || {
        let (world, worker) = world(1);
        let daemons = closing_threads(&world);
        let others = [reader(&world, 0, 0), reader(&world, 0, 2)];
        let victim = {
            let world = world.clone();
            spawn(move || {
                let fetched = world.fetch(0, 1);
                assert!(matches!(fetched, Ok(true) | Err(EINTR)), "{fetched:?}");
            })
        };
        let id = victim.thread().id().into();
        let killer = spawn(move || sched::kill(id));
        world.end(worker, daemons, others.into_iter().chain([victim, killer]));
    });
}

#[test]
fn a_daemon_dies_between_batches() {
    all_orders("death between batches", 1, || {
        let (world, worker) = world(1);
        let dies = Manner {
            dies_at: Some(1),
            ..Manner::default()
        };
        let first = threads(&world, 1, [Manner::default(), dies]);
        let second = successor(&world, 2, Manner::default(), first);
        let readers = readers(&world);
        world.end(worker, [second], readers);
    });
}

/// The next message, once there is one.
fn next(world: &Inner) -> WireMessage {
    let poller = world.poller(false);
    loop {
        match world.read(MAX_MESSAGE_SIZE, false).unwrap() {
            Some(message) => return WireMessage::try_from(&message.bytes[..]).unwrap(),
            None => poller.wait(),
        }
    }
}

/// Accepts the OPEN that comes next. Returns the descriptor.
fn accept(world: &Inner) -> u32 {
    let WireMessage::Open(open) = next(world) else {
        panic!("no OPEN");
    };
    let size = i64::from(u32::MAX) * PAGE;
    world.engine().copen(open.msg_id.into(), Ok(size)).unwrap();
    open.fd as u32
}

/// The most that is done to the table at a time, whatever comes of so many READs of one object.
fn most_of(reads: usize) -> usize {
    let most = Arc::new(AtomicUsize::new(0));
    let result = most.clone();
    once(move || {
        let (world, worker) = world(1);
        let object = world.objects[0].clone();
        anon_file::enter_process(1);
        let send = || {
            for n in 0..reads as u64 {
                world.engine().send_read(&object, 2 * n, 1);
            }
        };
        send();
        forget_steps();
        let fd = accept(&world);
        for _ in 0..reads / 2 {
            next(&world);
        }
        world.restore();
        for _ in 0..reads / 2 {
            next(&world);
        }
        world.giving_back(|| anon_file::close(fd));
        let fd = accept(&world);
        for _ in 0..reads {
            let WireMessage::Read(read) = next(&world) else {
                panic!("no READ");
            };
            let file = anon_file::get(fd).unwrap();
            file.ioctl(READ_COMPLETE, read.msg_id as usize).unwrap();
        }
        world.giving_back(anon_file::close_all);
        assert_eq!(world.engine().state_of(&object), State::Close);
        // And others that nobody will answer.
        send();
        world.drop_object(0);
        most.store(most_steps(), Ordering::SeqCst);
        drop(object);
        world.end(worker, None::<JoinHandle<()>>, []);
    });
    result.load(Ordering::SeqCst)
}

#[test]
fn no_hold_of_the_lock_grows_with_the_reads() {
    let (few, many) = (most_of(16), most_of(4096));
    println!("# steps under the lock at most: {few} for 16 READs, {many} for 4096");
    assert_eq!(few, many);
}
