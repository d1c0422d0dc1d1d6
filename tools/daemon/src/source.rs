// SPDX-License-Identifier: GPL-2.0
//! Which source the blobs come from: its options.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::backend::{Backend, BaseUrl, Http, HttpOptions, LocalDir};

/// Where blobs come from.
#[derive(Debug, Clone, Args)]
pub struct SourceArgs {
    /// Directory of blobs: a blob's file has the name of its cookie key (fsid or device name)
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "url",
        conflicts_with = "url"
    )]
    pub blobs: Option<PathBuf>,
    /// Web server in place of a directory: a blob is at URL/KEY, and is fetched range by range
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Certificates (PEM) by which an https server is believed, in place of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Proxy by which the server is reached: http://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// Seconds that one request to the server may take; after that it is tried again
    #[arg(
        long,
        default_value_t = 10,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub request_timeout: u32,
}

impl SourceArgs {
    /// The source, of which no more than `fetches` are under way at a time, and none for longer
    /// than `deadline`.
    pub fn open(&self, fetches: usize, deadline: Duration) -> Result<Box<dyn Backend>> {
        match (&self.blobs, &self.url) {
            (Some(dir), _) => Ok(Box::new(LocalDir::new(dir)?)),
            (None, Some(url)) => {
                let timeout = Duration::from_secs(self.request_timeout.into());
                let options = HttpOptions {
                    ca_file: self.ca_file.clone(),
                    proxy: self.proxy.clone(),
                    timeout: timeout.min(deadline),
                    connections: fetches,
                };
                Ok(Box::new(Http::new(BaseUrl::new(url)?, &options)?))
            }
            (None, None) => bail!("no source of blobs: give --blobs DIR or --url URL"),
        }
    }

    /// Whether it is at the other end of a network.
    pub fn is_remote(&self) -> bool {
        self.url.is_some()
    }

    /// These options, for another process.
    pub fn arguments(&self) -> Vec<OsString> {
        let timeout = OsString::from(self.request_timeout.to_string());
        let path = |path: &Option<PathBuf>| path.clone().map(OsString::from);
        let options = [
            ("--blobs", path(&self.blobs)),
            ("--url", self.url.clone().map(OsString::from)),
            ("--ca-file", path(&self.ca_file)),
            ("--proxy", self.proxy.clone().map(OsString::from)),
            ("--request-timeout", Some(timeout)),
        ];
        let given = options.into_iter().filter_map(|(name, value)| {
            let value = value?;
            Some([OsString::from(name), value])
        });
        given.flatten().collect()
    }
}

impl fmt::Display for SourceArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.blobs, &self.url) {
            (Some(dir), _) => write!(f, "{}", dir.display()),
            (None, url) => f.write_str(url.as_deref().unwrap_or_default()),
        }
    }
}
