// SPDX-License-Identifier: GPL-2.0
//! What the command line says.

use std::path::PathBuf;

use cachefiles_harness::registry::Module;

use crate::server::Kind;

/// The file system that holds the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CacheFs {
    Ext4,
    Xfs,
}

impl CacheFs {
    /// Its name, as mount takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// Network file systems cached through cachefiles.ko by cachefilesd. Needs root, an empty cache
/// disk and the devices of `scripts/vm --share-scratch`.
#[derive(Debug, Clone, clap::Parser)]
#[command(version)]
pub struct Settings {
    /// Which module is under test.
    #[arg(long, value_enum)]
    pub module: Module,
    /// The module's file.
    #[arg(long, value_name = "FILE")]
    pub module_path: PathBuf,
    /// The other module's file, for the cache that is handed over.
    #[arg(long, value_name = "FILE")]
    pub other_module_path: Option<PathBuf>,
    /// A small disk with an empty file system: small, so that culling happens.
    #[arg(long, value_name = "DEVICE")]
    pub cache_dev: PathBuf,
    /// The file system on it.
    #[arg(long, value_enum, default_value = "ext4")]
    pub cache_fs: CacheFs,
    /// Only this network file system.
    #[arg(long, value_enum)]
    pub client: Option<Kind>,
    /// Time limit of a step, in seconds.
    #[arg(long, value_name = "N", default_value_t = 120)]
    pub step_limit: u64,
    /// Run only the steps whose name contains one of these; the last one is always run.
    pub filter: Vec<String>,
}
