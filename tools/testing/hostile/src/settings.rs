// SPDX-License-Identifier: GPL-2.0
//! What the command line says.

use std::path::PathBuf;

use cachefiles_harness::registry::Module;
use cachefiles_harness::settings::Settings as World;

/// A daemon that does everything a daemon must not do. Needs root, an ext4 disk to spoil, and netfs
/// and erofs loaded.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Which module is under test.
    #[arg(long, value_enum)]
    pub module: Module,
    /// The module's file.
    #[arg(long, value_name = "FILE")]
    pub module_path: PathBuf,
    /// An ext4 disk that may be emptied.
    #[arg(long, value_name = "DEVICE")]
    pub cache_dev: PathBuf,
    /// What the seeds of the rounds are made of.
    #[arg(long, value_name = "N", default_value = "1", value_parser = number)]
    pub seed: u64,
    /// For how many seconds to be hostile, over all rounds. Making and taking down the world comes
    /// on top.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub time: u64,
    /// The same for one round. Below half a minute: a mount may have to wait that long for an
    /// answer, which the kernel would call a hang.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 8,
        value_parser = clap::value_parser!(u64).range(1..=30)
    )]
    pub round: u64,
    /// Run the round with this seed only, as printed by a run; may be given several times.
    #[arg(long, value_name = "SEED", value_parser = number)]
    pub replay: Vec<u64>,
    /// Only rounds with daemons that neither refuse nor falsify, and in which nothing fails.
    #[arg(long)]
    pub honest: bool,
    /// All time limits are multiplied by this, for slow machines.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub patience: u32,
}

impl Settings {
    /// The seeds of all rounds.
    pub fn seeds(&self) -> Vec<u64> {
        if !self.replay.is_empty() {
            return self.replay.clone();
        }
        let rounds = self.time.div_ceil(self.round).max(1);
        (0..rounds)
            .map(|round| crate::dice::seed_of_round(self.seed, round))
            .collect()
    }

    /// What the selftests need to know to make their world.
    pub fn world(&self) -> World {
        World {
            module: self.module,
            module_path: self.module_path.clone(),
            other_module_path: None,
            cache_dev: self.cache_dev.clone(),
            cache_fs: Default::default(),
            images: None,
            even_crashes: false,
            patience: self.patience,
        }
    }
}

/// A number as a person writes it, or as a run prints a seed.
fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text} is neither a number nor one in hex, as 0x1f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_as_they_are_printed() {
        let seed = crate::dice::seed_of_round(3, 4);
        assert_eq!(number(&format!("{seed:#x}")), Ok(seed));
        assert_eq!(number("17"), Ok(17));
        assert!(number("seed").is_err());
    }
}
