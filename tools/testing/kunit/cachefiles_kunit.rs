// SPDX-License-Identifier: GPL-2.0

//! Unit tests of the abstractions in `rust/`, for what only exists in a kernel.
//!
//! One suite for each file, named after the crate and the part of it that it tests. A test is a
//! function named after the behaviour that it checks. `Documentation/testing.rst` tells how they
//! are run.

#![forbid(unsafe_code)]

mod anon_file;
mod cache;
mod completion;
mod cookie;
mod cred;
mod debugfs;
mod delayed;
mod device;
mod dir;
mod driver;
mod errno;
mod examples {
    // Not a file of the tree, which rustfmt would look for.
    include!("examples_generated.rs");
}
mod file;
mod guarded;
mod ids;
mod io;
mod live_count;
mod marks;
mod operation;
mod params;
mod registry;
mod rename;
mod scratch;
mod set_once;
mod slab;
mod stack;
mod store;
mod table;
mod task;
mod work;
mod xattr;

use kernel::prelude::*;

module! {
    type: Tests,
    name: "cachefiles_kunit",
    author: "The cachefiles in Rust authors",
    description: "Unit tests of what cachefiles is built on",
    license: "GPL",
}

/// KUnit finds the suites by itself, and runs them after this.
struct Tests;

impl kernel::Module for Tests {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

impl Drop for Tests {
    fn drop(&mut self) {
        // What the tests had open is closed a little later, as they run in kernel threads.
        kunit::flush_closed_files();
    }
}
