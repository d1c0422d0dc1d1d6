// SPDX-License-Identifier: GPL-2.0
//! What a hostile thread can do: a table of operations, and how often each is done.

mod ask;
mod fds;
mod fill;
mod handle;
pub mod ring;
mod serve;
mod take;
mod watch;

pub use fds::hold;

use crate::actor::Actor;

/// Something to do. It fails in whatever way it likes: its results are in the step log.
type Operation = fn(&mut Actor<'_>);

/// Who does it.
#[derive(PartialEq, Eq)]
enum Who {
    /// Also a daemon that is only slow, confused or careless.
    Any,
    /// One that refuses what was asked for, or writes or completes what it should not.
    Hostile,
}
use Who::{Any, Hostile};

/// How often, of the sum of all, by whom, and what.
const OPERATIONS: &[(u32, Who, Operation)] = &[
    // What a daemon is there for, so that there is something to disturb.
    (300, Any, serve::serve),
    (50, Any, serve::answer_an_old_read),
    (30, Any, serve::answer_an_old_open),
    // The device, read in ways that fail.
    (40, Any, take::into_bad_memory),
    (25, Any, take::with_little_room),
    (15, Any, take::into_several),
    (10, Any, take::with_a_full_fd_table),
    // Commands.
    (40, Hostile, ask::guess_copen),
    (30, Any, ask::noise),
    (20, Hostile, ask::command),
    (10, Any, ask::long_or_broken),
    (15, Any, ask::from_bad_memory),
    (15, Hostile, ask::cull),
    (12, Any, ask::restore),
    // The fds of objects.
    (40, Any, fill::right_bytes),
    (25, Any, fill::from_bad_memory),
    (30, Hostile, fill::junk),
    (40, Any, fill::from_two_threads),
    (6, Any, fill::switch_straight_reads),
    (30, Hostile, fill::guess_cread),
    // What fds can do, whatever they stand for.
    (40, Any, handle::seek),
    (40, Hostile, handle::call),
    (15, Any, handle::map),
    (15, Any, handle::splice),
    (20, Hostile, handle::flags),
    // Fds that come and go.
    (50, Any, fds::duplicate),
    (40, Any, fds::close_an_object),
    (8, Hostile, fds::replace_an_object),
    (4, Any, fds::close_all_objects),
    (12, Any, fds::close_a_device),
    (10, Any, fds::open_and_bind),
    (30, Any, fds::send),
    (60, Any, fds::receive),
    (6, Hostile, fds::exec),
    (6, Any, fds::fork),
    (10, Any, fds::reopen),
    // Waiting.
    (25, Any, watch::poll),
    (25, Any, watch::epoll),
    (15, Any, watch::look),
    (30, Any, ring::ring),
];

/// One operation, chosen by the actor's dice.
pub fn one(actor: &mut Actor<'_>) {
    let honest = actor.honest;
    let weights = OPERATIONS.iter().map(|(weight, who, _)| match who {
        Hostile if honest => 0,
        Any | Hostile => *weight,
    });
    let place = actor.dice.weighted(weights);
    if let Some((_, _, operation)) = OPERATIONS.get(place) {
        operation(actor);
    }
    fds::reap(actor);
    if actor.dice.chance(30) {
        std::thread::sleep(actor.dice.pause(3));
    }
}
