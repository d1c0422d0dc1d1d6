// SPDX-License-Identifier: GPL-2.0
//! What the programs share that try the module inside a test machine: images, a daemon that is led
//! step by step, the module and its mounts, the kernel's log, TAP.

pub mod actor;
pub mod bad_disk;
pub mod context;
pub mod image;
pub mod kmsg;
pub mod lz4;
pub mod raw;
pub mod registry;
pub mod runner;
pub mod session;
pub mod settings;
pub mod share;
pub mod sys;
pub mod tap;
pub mod task;
pub mod web;
