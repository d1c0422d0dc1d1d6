// SPDX-License-Identifier: GPL-2.0
//! What the command line says, and how it is passed on to a test's own process.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::registry::{CacheFs, Module};

/// Exit status of a test's process that means "skipped".
pub const SKIPPED: i32 = 4;

/// Everything a run needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Which module is under test.
    #[arg(long, value_enum)]
    pub module: Module,
    /// The module's file.
    #[arg(long, value_name = "FILE")]
    pub module_path: PathBuf,
    /// The other module's file, for the tests that hand a cache over.
    #[arg(long, value_name = "FILE")]
    pub other_module_path: Option<PathBuf>,
    /// A disk that the tests may empty.
    #[arg(long, value_name = "DEVICE")]
    pub cache_dev: PathBuf,
    /// The file system on it.
    #[arg(long, value_enum, value_name = "FS", default_value_t)]
    pub cache_fs: CacheFs,
    /// Images made by mkfs.erofs: NAME.img, NAME.sha256, and NAME.blob where there is one.
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Also run what is known to crash the machine, or to hang.
    #[arg(long)]
    pub even_crashes: bool,
    /// All time limits are multiplied by this, for slow machines.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub patience: u32,
}

impl Settings {
    /// Arguments that make this program run one test in itself.
    pub fn child_arguments(&self, test: &str) -> Vec<OsString> {
        let module = match self.module {
            Module::Rust => "rust",
            Module::C => "c",
        };
        let mut arguments: Vec<OsString> = vec![
            "child".into(),
            test.into(),
            "--module".into(),
            module.into(),
            "--module-path".into(),
            self.module_path.clone().into(),
            "--cache-dev".into(),
            self.cache_dev.clone().into(),
            "--cache-fs".into(),
            self.cache_fs.name().into(),
            "--patience".into(),
            self.patience.to_string().into(),
        ];
        for (name, value) in [
            ("--other-module-path", &self.other_module_path),
            ("--images", &self.images),
        ] {
            if let Some(value) = value {
                arguments.extend([name.into(), value.clone().into()]);
            }
        }
        arguments
    }

    /// The directory in memory that belongs to a test.
    pub fn work_dir(&self, test: &str) -> PathBuf {
        PathBuf::from("/tmp/cachefiles-selftests").join(test)
    }
}
