// SPDX-License-Identifier: GPL-2.0
//! The original mode: a network file system (9p) over the cache, and the daemon that culls.

mod attribute;
mod bind;
mod coherency;
mod cull;
mod dirty;
mod errors;
mod idle;
mod offline;
mod races;
mod reading;
mod stale;
mod state;
pub(super) mod world;
mod writing;

use crate::registry::Test;

/// All of them, in the order in which they run.
pub const ALL: &[&[Test]] = &[
    bind::TESTS,
    state::TESTS,
    reading::TESTS,
    writing::TESTS,
    coherency::TESTS,
    cull::TESTS,
    dirty::TESTS,
    errors::TESTS,
    stale::TESTS,
    idle::TESTS,
    offline::TESTS,
    races::TESTS,
];
