// SPDX-License-Identifier: GPL-2.0
//! The daemon of this project, as its users run it: what its operator and the readers of its images
//! see when something goes wrong.

mod blobs;
mod ctl;
mod full;
mod program;
mod settings;
mod slow;
mod supervisor;
mod web;

use crate::registry::Test;

/// The tests, by what goes wrong.
pub const ALL: &[&[Test]] = &[
    blobs::TESTS,
    ctl::TESTS,
    full::TESTS,
    settings::TESTS,
    slow::TESTS,
    supervisor::TESTS,
    web::TESTS,
];
