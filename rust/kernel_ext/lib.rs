// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over kernel interfaces that the `kernel` crate of Linux 6.12 does not have.
//!
//! One module per subsystem, named after it. Nothing here knows of caches: what belongs to fscache
//! is in the crate `fscache`, and the driver, which has no `unsafe` of its own, is on top of both.
//!
//! Where a C interface has a rule that types cannot express, the module says so at its head, and
//! the wrapper is built so that safe code cannot break the rule.

#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]
#![deny(clippy::undocumented_unsafe_blocks)]

pub mod anon_file;
pub mod cred;
pub mod debugfs;
pub mod delayed_work;
pub mod errno;
pub mod fs;
pub mod gfp;
pub mod global;
pub mod ids;
pub mod io;
pub mod log;
pub mod miscdevice;
pub mod module;
pub mod params;
pub mod slab;
pub mod sync;
pub mod task;
pub mod workqueue;
pub mod xarray;
