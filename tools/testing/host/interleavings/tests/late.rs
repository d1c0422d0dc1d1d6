// SPDX-License-Identifier: GPL-2.0

//! Requests that are not answered in time.

use super::daemon::{daemon, successor, Manner};
use super::explore::{all_orders, once};
use super::world::{world, World};
use crate::cache::object::Object;
use cachefiles_bindings::sched;
use cachefiles_protocol::WireMessage;
use kernel::error::code::EBUSY;
use kernel_ext::errno::ETIMEDOUT;
use shuttle::thread::{spawn, JoinHandle};

/// A reader that gets its page, or is told that it takes too long.
///
/// That the object is not opened in time is never the reason: each READ has its own time.
fn impatient(world: &World, page: i64) -> JoinHandle<()> {
    let world = world.clone();
    spawn(move || match world.fetch(0, page) {
        Ok(there) => assert!(there),
        Err(error) => assert_eq!(error, ETIMEDOUT),
    })
}

#[test]
fn a_reader_does_not_wait_for_ever_for_a_daemon_that_does_nothing() {
    all_orders("ignored reads with a timeout", 2, || {
        let (world, worker) = world(1);
        world.set_timeout(5);
        let manner = Manner {
            ignores: 1,
            ..Manner::default()
        };
        let daemon = daemon(&world, 1, manner);
        let readers = [impatient(&world, 0), impatient(&world, 0)];
        world.end(worker, [daemon], readers);
    });
}

#[test]
fn a_timeout_goes_for_what_is_on_its_way_too() {
    all_orders("timeout set late", 2, || {
        let (world, worker) = world(1);
        let manner = Manner {
            ignores: 2,
            ..Manner::default()
        };
        let daemon = daemon(&world, 1, manner);
        let setter = {
            let world = world.clone();
            spawn(move || world.set_timeout(1))
        };
        let others = [impatient(&world, 0), impatient(&world, 1), setter];
        world.end(worker, [daemon], others);
    });
}

#[test]
fn an_opener_does_not_wait_for_ever_for_a_daemon_that_is_not_there() {
    all_orders("open without a daemon", 3, || {
        let (world, worker) = world(1);
        world.set_timeout(1);
        let opener = {
            let world = world.clone();
            spawn(move || {
                // The second where the reader has the object opened.
                let error = Object::open(&world.objects[0]).unwrap_err();
                assert!([ETIMEDOUT, EBUSY].contains(&error), "{error:?}");
            })
        };
        let others = [opener, impatient(&world, 0)];
        world.end(worker, None::<JoinHandle<()>>, others);
    });
}

#[test]
fn readers_do_not_wait_for_ever_while_a_daemon_dies() {
    all_orders("death with a timeout", 1, || {
        let (world, worker) = world(1);
        world.set_timeout(3);
        let manner = Manner {
            dies_at: Some(1),
            ..Manner::default()
        };
        let first = daemon(&world, 1, manner);
        let daemons = [successor(&world, 2, Manner::default(), [first])];
        let readers = [impatient(&world, 0), impatient(&world, 1)];
        world.end(worker, daemons, readers);
    });
}

#[test]
fn a_close_that_is_read_late_is_read_all_the_same() {
    all_orders("close read late", 2, || {
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
                let open = read();
                let (id, object) = (open.msg_id(), open.object_id());
                world.engine().copen(id.into(), Ok(4096)).unwrap();
                world.set_timeout(1);
                world.drop_object(0);
                let WireMessage::Close(close) = read() else {
                    panic!("no CLOSE");
                };
                assert_eq!(close.object_id, object);
                world.giving_back(kernel_ext::anon_file::close_all);
            })
        };
        let opener = {
            let world = world.clone();
            spawn(move || assert_eq!(Object::open(&world.objects[0]), Ok(())))
        };
        world.end(worker, [first], [opener]);
    });
}

#[test]
fn requests_that_are_late_one_after_the_other_are_looked_at_a_few_times_a_second() {
    once(|| {
        let (world, worker) = world(1);
        let object = world.objects[0].clone();
        kernel_ext::anon_file::enter_process(1);
        let opener = {
            let world = world.clone();
            spawn(move || assert_eq!(Object::open(&world.objects[0]), Ok(())))
        };
        let poller = world.poller(false);
        let open = loop {
            match world.read(1024, false).unwrap() {
                Some(message) => break WireMessage::try_from(&message.bytes[..]).unwrap(),
                None => poller.wait(),
            }
        };
        let id = open.msg_id().into();
        world.engine().copen(id, Ok(4096)).unwrap();
        opener.join().unwrap();
        kernel_ext::workqueue::hold_time(true);
        world.set_timeout(5);
        // One in each tick, of which there are 100 in a second.
        for n in 0..200 {
            world.engine().send_read(&object, 2 * n, 1);
            kernel_ext::task::pass(1);
        }
        let looks = || {
            let steps = sched::steps();
            steps.iter().filter(|step| step.1 == "runs work").count()
        };
        let before = looks();
        kernel_ext::workqueue::hold_time(false);
        while !world.engine().ids_in_table().is_empty() {
            kernel_ext::task::cond_resched();
        }
        let looks = looks() - before;
        assert!(looks <= 15, "{looks} looks in 7 seconds");
        kernel_ext::anon_file::close_all();
        drop(object);
        world.end(worker, None::<JoinHandle<()>>, []);
    });
}
