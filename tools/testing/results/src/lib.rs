// SPDX-License-Identifier: GPL-2.0
//! Reads what tests print (TAP, KTAP, the lines of `cargo test`) and what a broken kernel prints.
//!
//! The program `test-results` is for the scripts; the list of complaints is also for the programs
//! inside a test machine, which read the kernel's log.

pub mod cargo;
pub mod complaints;
pub mod ktap;
pub mod result;
pub mod summary;
pub mod tap;
