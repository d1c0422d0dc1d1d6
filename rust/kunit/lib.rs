// SPDX-License-Identifier: GPL-2.0

//! A framework for unit tests in the kernel, and test doubles for the surroundings of the code
//! under test.
//!
//! C header: `include/kunit/test.h`
//!
//! A test is a function without arguments that returns an [`Outcome`]; [`suite!`] gives a list of
//! them to KUnit, which runs them when the module is inserted:
//!
//! ```ignore
//! kunit::suite!("ids", [numbers_begin_with_one]);
//!
//! fn numbers_begin_with_one() -> Outcome {
//!     let ids = KBox::pin_init(CyclicIds::new(), GFP_KERNEL)?;
//!     ensure_eq!(ids.alloc(Gfp::Kernel)?, 1);
//!     Ok(())
//! }
//! ```
//!
//! A failed check ends its test by returning, so that all locks and references of the test are
//! dropped before KUnit is told. (KUnit's own assertions end the thread without running
//! destructors.) The kernel never panics by it.
//!
//! The test doubles: threads that can be killed ([`Thread`]), pollers ([`Poller`]), buffers for I/O
//! ([`Buffer`]), a queue with one worker ([`OrderedQueue`]), files, a network file system that
//! wants to be cached ([`NetVolume`]).
//!
//! This crate is part of the module of the tests alone.

#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]
#![deny(clippy::undocumented_unsafe_blocks)]

mod bindings;
mod buffer;
mod files;
mod netfs;
mod outcome;
mod owners;
mod poller;
mod queue;
mod spin_cell;
mod suite;
mod this_module;
mod thread;

pub use buffer::{submit_read, submit_write, Buffer, Finished, Pending};
pub use files::{close_fd, file_of_fd, flush_closed_files, ioctl, open, users_of_file, write_to};
pub use netfs::{End, Hole, InUse, NetCookie, NetVolume, Read, Reading, Wanted, Write, Writing};
pub use outcome::{wait_until, Outcome, Stop};
pub use owners::{acts_with, owner, set_owner};
pub use poller::Poller;
pub use queue::OrderedQueue;
pub use spin_cell::SpinCell;
pub use suite::{Case, Cases, Entry, Listed, Suite};
pub use this_module::{foreign_module, users_of_this_module};
pub use thread::{as_if_exiting, spawn, Thread};

/// The prefix of lines in the log.
const LOG_PREFIX: &[u8] = b"kunit\0";
