// SPDX-License-Identifier: GPL-2.0

//! Windows: what a reader takes from the writes of the daemon is what the file has, whatever the
//! order in which they get there.

use super::explore::all_orders;
use super::world::{world, World};
use crate::cache::ondemand::Engine;
use kernel_ext::fs::PAGE;
use kernel_ext::io::OpenWindow;
use shuttle::thread::{spawn, JoinHandle};
use std::sync::atomic::{AtomicBool, Ordering};

/// The pages that are read.
const START: i64 = 1;
const END: i64 = 3;

/// A thread of a daemon that writes the pages from `from` to `to`, with this content.
fn writer(world: &World, from: i64, to: i64, tag: u32) -> JoinHandle<()> {
    let world = world.clone();
    spawn(move || {
        let len = ((to - from) * PAGE) as usize;
        assert_eq!(
            Engine::write(&world.objects[0], from * PAGE, len, tag),
            Ok(len)
        );
    })
}

/// A reader, whose READ some threads answer that know of it, with others that do not. Once all of
/// them are done, either it has what the file has, or it has to read that. Returns whether it has.
fn read(
    world: &World,
    before: impl FnOnce() -> Vec<JoinHandle<()>>,
    after: impl FnOnce() -> Vec<JoinHandle<()>>,
) -> bool {
    let object = &world.objects[0];
    let early = before();
    let open = OpenWindow::new((END - START) as usize).unwrap();
    let listed = world
        .engine()
        .list_window(object, START * PAGE, END * PAGE, open.window());
    assert!(listed.is_some());
    for thread in after().into_iter().chain(early) {
        thread.join().unwrap();
    }
    drop(listed);
    let content = open.close();
    let file = object.file().unwrap();
    if let Some(content) = &content {
        let of_the_file: Vec<_> = (START..END).filter_map(|page| file.content(page)).collect();
        assert_eq!(*content, of_the_file, "reader and file differ");
    }
    content.is_some()
}

/// Runs it in all orders. It has to be straight in some of them, unless that cannot be.
fn explore(
    name: &str,
    can_be_straight: bool,
    early: &'static [(i64, i64)],
    late: &'static [(i64, i64)],
) {
    let was_straight = std::sync::Arc::new(AtomicBool::new(false));
    let seen = was_straight.clone();
    all_orders(name, 3, move || {
        let (world, worker) = world(1);
        let writers = |of: &[(i64, i64)], first: u32| {
            let each = of.iter().zip(first..);
            each.map(|(&(from, to), tag)| writer(&world, from, to, tag))
                .collect()
        };
        if read(&world, || writers(early, 1), || writers(late, 11)) {
            seen.store(true, Ordering::SeqCst);
        }
        world.end::<()>(worker, [], []);
    });
    assert_eq!(was_straight.load(Ordering::SeqCst), can_be_straight);
}

#[test]
fn a_reader_has_what_one_thread_writes() {
    explore("one write", true, &[], &[(START, END)]);
    explore("a larger write", true, &[], &[(0, 5)]);
    explore("a part of it", false, &[], &[(START, START + 1)]);
}

#[test]
fn a_reader_has_what_two_threads_leave() {
    explore("the same twice", false, &[], &[(START, END), (START, END)]);
    explore(
        "two halves",
        true,
        &[],
        &[(START, START + 1), (START + 1, END)],
    );
    explore("overlapping", false, &[], &[(START, START + 1), (0, END)]);
    explore("beside it", true, &[], &[(START, END), (END, END + 1)]);
}

#[test]
fn a_write_from_before_the_read_is_no_harm() {
    explore("one of before", true, &[(START, END)], &[(START, END)]);
    explore(
        "a part of before",
        true,
        &[(START + 1, END)],
        &[(START, END)],
    );
    explore("only of before", true, &[(START, END)], &[]);
}

#[test]
fn a_window_that_is_shut_is_not_filled() {
    all_orders("another daemon", 3, || {
        let (world, worker) = world(1);
        let is_straight = read(&world, Vec::new, || {
            let first = writer(&world, START, END, 1);
            first.join().unwrap();
            world.engine().hand_on(&world.objects[0]);
            Vec::new()
        });
        assert!(!is_straight, "what one daemon left is taken of the next");
        world.end::<()>(worker, [], []);
    });
}
