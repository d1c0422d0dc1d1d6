// SPDX-License-Identifier: GPL-2.0
//! An on-demand daemon for cachefiles that may be killed at any moment.
//!
//! Two processes: the *worker* ([`serve`]) answers the kernel's requests, and may crash; the
//! *supervisor* ([`supervise`]) holds the device's fd, so that the kernel keeps cache and requests,
//! starts the worker again, and has the kernel repeat what the dead one left unanswered. systemd's
//! fd store can take the supervisor's place.

pub mod backend;
pub mod borrow;
pub mod cache;
pub mod config;
pub mod control;
pub mod doctor;
pub mod handoff;
pub mod holders;
pub mod identity;
pub mod images;
pub mod index;
pub mod invalidate;
pub mod log;
pub mod metrics;
pub mod mounts;
pub mod place;
pub mod seldom;
pub mod serve;
pub mod source;
pub mod stats;
pub mod supervise;
pub mod systemd;
pub mod verify;
