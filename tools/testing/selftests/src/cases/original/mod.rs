// SPDX-License-Identifier: GPL-2.0
//! The original mode: a network file system (9p) over the cache, and the daemon that culls.

mod attribute;
mod bind;
mod blocks;
mod coherency;
mod cull;
mod dirty;
mod errors;
pub(super) mod filler;
pub(super) mod frozen;
mod idle;
mod late;
mod layout;
mod offline;
mod old_netfs;
mod races;
mod reading;
mod room;
mod stale;
mod state;
pub(super) mod world;
mod writing;

use crate::registry::Test;

/// All of them, in the order in which they run.
pub const ALL: &[&[Test]] = &[
    bind::TESTS,
    state::TESTS,
    room::TESTS,
    reading::TESTS,
    writing::TESTS,
    coherency::TESTS,
    layout::TESTS,
    cull::TESTS,
    dirty::TESTS,
    errors::TESTS,
    stale::TESTS,
    frozen::TESTS,
    late::TESTS,
    blocks::TESTS,
    idle::TESTS,
    offline::TESTS,
    races::TESTS,
];
