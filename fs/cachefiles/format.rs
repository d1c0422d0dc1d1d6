// SPDX-License-Identifier: GPL-2.0

//! Formats: what daemons write, and what is on the disk. (Messages to daemons are with the engine
//! that sends them: `cache::ondemand::message`.)
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

pub(crate) mod command;
pub(crate) mod key;
pub(crate) mod layout;
pub(crate) mod limits;
