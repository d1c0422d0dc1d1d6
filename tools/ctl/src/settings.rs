// SPDX-License-Identifier: GPL-2.0
//! Where the cache is, and where the daemon tells what it does: out of the daemon's configuration,
//! unless it is given.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use toml::{Table, Value};

/// The configuration of the daemon's unit.
const CONFIG: &str = "/etc/cachefiles-ondemandd.toml";

/// Options that say which cache is meant.
#[derive(Debug, Args)]
pub struct Place {
    /// The daemon's configuration, which says what is not given here; that of the unit if there is
    /// one [default: /etc/cachefiles-ondemandd.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory that holds the cache
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Unix socket at which the daemon tells its metrics
    #[arg(long, value_name = "PATH")]
    metrics: Option<PathBuf>,
}

/// What was given, or is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The cache directory.
    pub dir: Option<PathBuf>,
    /// The socket of metrics.
    pub metrics: Option<PathBuf>,
    /// The file of credentials for registries.
    pub docker_config: Option<PathBuf>,
}

impl Settings {
    /// Reads the configuration. That of the unit need not be there.
    pub fn read(place: &Place) -> Result<Self> {
        let (path, is_given) = match &place.config {
            Some(path) => (path.as_path(), true),
            None => (Path::new(CONFIG), false),
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if !is_given && error.kind() != io::ErrorKind::InvalidData => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let table: Table = text
            .parse()
            .with_context(|| format!("{} is not understood", path.display()))?;
        let path_of = |key| table.get(key).and_then(Value::as_str).map(PathBuf::from);
        Ok(Self {
            dir: place.dir.clone().or_else(|| path_of("dir")),
            metrics: place.metrics.clone().or_else(|| path_of("metrics")),
            docker_config: path_of("docker_config"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_comes_before_what_is_configured() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            file.path(),
            "dir = '/c'\nmetrics = '/m'\ndocker_config = '/k'\n",
        )
        .unwrap();
        let mut place = Place {
            config: Some(file.path().to_owned()),
            dir: None,
            metrics: None,
        };
        let settings = Settings::read(&place).unwrap();
        assert_eq!(settings.dir.as_deref(), Some(Path::new("/c")));
        place.dir = Some("/d".into());
        let settings = Settings::read(&place).unwrap();
        assert_eq!(settings.dir.as_deref(), Some(Path::new("/d")));
        assert_eq!(settings.metrics.as_deref(), Some(Path::new("/m")));
        assert_eq!(settings.docker_config.as_deref(), Some(Path::new("/k")));
        fs::write(file.path(), "dir =").unwrap();
        assert!(Settings::read(&place).is_err());
        place.config = Some("/absent".into());
        assert!(Settings::read(&place).is_err());
    }
}
