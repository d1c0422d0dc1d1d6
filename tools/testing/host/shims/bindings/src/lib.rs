// SPDX-License-Identifier: GPL-2.0

//! The C functions that the abstractions under the on-demand engine call, for the host.
//!
//! What C keeps in a structure is kept here in a table of the running test, and the structure
//! holds the place in that table. So a structure may be moved, and nothing has to be freed that C
//! would not free either.
//!
//! Every function that another task could see something of is a point at which a scheduler may let
//! that other task run ([`sched::point`]); everything between two of them is one step.

#![deny(unsafe_op_in_unsafe_fn)]
#![deny(clippy::undocumented_unsafe_blocks)]
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod array;
mod constants;
pub mod sched;
mod wait;
mod walk;

pub use array::*;
pub use constants::*;
pub use wait::*;
pub use walk::*;

use std::cell::Cell;

std::thread_local! {
    static FAILURES: Cell<u32> = const { Cell::new(0) };
}

/// Empties all tables: a new execution begins.
pub fn reset() {
    array::reset();
    sched::reset();
    wait::reset();
    FAILURES.set(0);
}

/// From now on `count` allocations fail. Which ones, the scheduler chooses.
pub fn let_allocations_fail(count: u32) {
    FAILURES.set(count);
}

/// Whether this allocation fails.
pub fn alloc_fails() -> bool {
    let left = FAILURES.get();
    let fails = left > 0 && sched::choose(2) == 1;
    if fails {
        FAILURES.set(left - 1);
    }
    fails
}
