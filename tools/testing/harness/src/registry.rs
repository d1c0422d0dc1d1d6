// SPDX-License-Identifier: GPL-2.0
//! What a test is: a function with the behaviour as its name, and what each module makes of it.

use std::time::Duration;

use anyhow::Result;

use crate::context::Context;

/// Which `cachefiles.ko` is under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Module {
    /// The one written in Rust.
    Rust,
    /// The one of the kernel, written in C.
    C,
}

/// The file system below the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CacheFs {
    /// The usual one.
    #[default]
    Ext4,
    /// The one of Red Hat's distributions. Its `i_blocks` says nothing, and it allocates ahead.
    Xfs,
    /// Copies on write, has checksums, and counts no inodes.
    Btrfs,
}

impl CacheFs {
    /// What `mount` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

/// What is expected of a module.
#[derive(Debug, Clone, Copy)]
pub enum Expect {
    /// That the test passes.
    Pass,
    /// That it fails, for this known reason. It is run nevertheless, so that it shows.
    Fail(&'static str),
    /// The test would hang or crash the machine, for this known reason: it is not run.
    Skip(&'static str),
}

/// A test and its place in the world.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// The behaviour, in words.
    pub name: &'static str,
    /// What would break if the behaviour were lost.
    pub guards: &'static str,
    /// What is expected of the C module.
    pub on_c: Expect,
    /// What is expected of the Rust module.
    pub on_rust: Expect,
    /// File systems on which it is not run, and why.
    pub not_on: &'static [(CacheFs, &'static str)],
    /// After this time the test counts as hanging.
    pub limit: Duration,
    /// The test itself.
    pub run: fn(&Context) -> Result<()>,
}

impl Test {
    /// A test that both modules pass within the common limit.
    pub const fn new(
        name: &'static str,
        guards: &'static str,
        run: fn(&Context) -> Result<()>,
    ) -> Self {
        Self {
            name,
            guards,
            on_c: Expect::Pass,
            on_rust: Expect::Pass,
            not_on: &[],
            limit: Duration::from_secs(30),
            run,
        }
    }

    /// The C module is known to fail it.
    pub const fn c_fails(mut self, reason: &'static str) -> Self {
        self.on_c = Expect::Fail(reason);
        self
    }

    /// The C module would hang or crash over it.
    pub const fn c_skips(mut self, reason: &'static str) -> Self {
        self.on_c = Expect::Skip(reason);
        self
    }

    /// It is about something that these file systems do not have, for the reasons given.
    pub const fn not_on(mut self, reasons: &'static [(CacheFs, &'static str)]) -> Self {
        self.not_on = reasons;
        self
    }

    /// A limit other than the common one, in seconds.
    pub const fn limit(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// What is expected of `module` with its cache on `fs`.
    pub fn expected_of(&self, module: Module, fs: CacheFs) -> Expect {
        if let Some((_, reason)) = self.not_on.iter().find(|(other, _)| *other == fs) {
            return Expect::Skip(reason);
        }
        match module {
            Module::Rust => self.on_rust,
            Module::C => self.on_c,
        }
    }
}

/// A test named after its function.
#[macro_export]
macro_rules! test {
    ($run:ident, $guards:literal) => {
        $crate::registry::Test::new(stringify!($run), $guards, $run)
    };
}
pub use test;

/// The error that skips a test from within it.
#[derive(Debug)]
pub struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "skipped: {}", self.0)
    }
}

impl std::error::Error for Skip {}
