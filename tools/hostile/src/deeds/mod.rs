// SPDX-License-Identifier: GPL-2.0
//! What a hostile thread can do: a table of deeds, and how often each is done.

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

/// Something to do. It fails in whatever way it likes: its results are in the trail.
type Deed = fn(&mut Actor<'_>);

/// How often, of the sum of all, and what.
const DEEDS: &[(u32, Deed)] = &[
    // What a daemon is there for, so that there is something to disturb.
    (300, serve::serve),
    (50, serve::answer_an_old_read),
    (30, serve::answer_an_old_open),
    // The device, read in ways that fail.
    (40, take::into_bad_memory),
    (25, take::with_little_room),
    (15, take::into_several),
    (10, take::with_a_full_fd_table),
    // Commands.
    (40, ask::guess_copen),
    (30, ask::noise),
    (20, ask::command),
    (10, ask::long_or_broken),
    (15, ask::from_bad_memory),
    (15, ask::cull),
    (12, ask::restore),
    // The fds of objects.
    (40, fill::right_bytes),
    (25, fill::from_bad_memory),
    (30, fill::junk),
    (30, fill::guess_cread),
    // What fds can do, whatever they stand for.
    (40, handle::seek),
    (40, handle::call),
    (15, handle::map),
    (15, handle::splice),
    (20, handle::flags),
    // Fds that come and go.
    (50, fds::duplicate),
    (40, fds::close_an_object),
    (8, fds::replace_an_object),
    (4, fds::close_all_objects),
    (12, fds::close_a_device),
    (10, fds::open_and_bind),
    (30, fds::send),
    (60, fds::receive),
    (6, fds::exec),
    (6, fds::fork),
    (10, fds::reopen),
    // Waiting.
    (25, watch::poll),
    (25, watch::epoll),
    (30, ring::ring),
];

/// One deed, chosen by the actor's dice.
pub fn one(actor: &mut Actor<'_>) {
    let place = actor.dice.weighted(DEEDS.iter().map(|(weight, _)| *weight));
    if let Some((_, deed)) = DEEDS.get(place) {
        deed(actor);
    }
    fds::reap(actor);
    if actor.dice.chance(30) {
        std::thread::sleep(actor.dice.pause(3));
    }
}
