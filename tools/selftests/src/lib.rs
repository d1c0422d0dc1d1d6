// SPDX-License-Identifier: GPL-2.0
//! What the behaviour tests are made of: images, a daemon that is led step by step, the module and its
//! mounts, TAP. Other programs that try the module inside a test machine build on it.

pub mod actor;
pub mod bad_disk;
pub mod cases;
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
