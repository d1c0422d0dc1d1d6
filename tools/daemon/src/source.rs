// SPDX-License-Identifier: GPL-2.0
//! Which source the blobs come from: its options.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum as _};

use crate::backend::chunks::{Digest, Index};
use crate::backend::{
    Backend, BaseUrl, Http, HttpOptions, LocalDir, Verified, Verify, hexadecimal,
};
use crate::images::ImageArgs;

/// How servers are asked.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
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

impl ServerArgs {
    /// The same for the client: of its connections `fetches` are kept, and no request takes longer
    /// than `deadline`.
    pub fn options(&self, fetches: usize, deadline: Duration) -> HttpOptions {
        HttpOptions {
            ca_file: self.ca_file.clone(),
            proxy: self.proxy.clone(),
            timeout: Duration::from_secs(self.request_timeout.into()).min(deadline),
            connections: fetches,
        }
    }
}

/// Where blobs come from.
#[derive(Debug, Clone, Args)]
pub struct SourceArgs {
    /// Directory of blobs: a blob's file has the name of its cookie key (fsid or device name)
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present_any = ["url", "image"],
        conflicts_with_all = ["url", "image"]
    )]
    pub blobs: Option<PathBuf>,
    /// Web server in place of a directory: a blob is at URL/KEY, and is fetched range by range
    #[arg(long, value_name = "URL", conflicts_with = "image")]
    pub url: Option<String>,
    /// Images, in place of both.
    #[command(flatten)]
    pub images: ImageArgs,
    /// How servers are asked.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Which blobs are verified, by the index that `index` makes and that lies beside the blob
    #[arg(long, value_enum, default_value_t = Verify::Indexed, value_name = "WHICH")]
    pub verify: Verify,
    /// The digest (SHA-256) of the index of the blob KEY; one with another is refused
    #[arg(long, value_name = "KEY=DIGEST", value_parser = parse_known)]
    pub index_digest: Vec<KnownIndex>,
}

/// The digest of a blob's index, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownIndex {
    key: String,
    digest: Digest,
}

fn parse_known(text: &str) -> Result<KnownIndex, String> {
    let (key, digits) = text.rsplit_once('=').ok_or("KEY=DIGEST is wanted")?;
    let mut digest = Digest::default();
    let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if key.is_empty() || !is_digest {
        return Err("a key and 64 hexadecimal digits are wanted".into());
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        let pair = digits.get(2 * at..2 * at + 2).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).map_err(|error| error.to_string())?;
    }
    let key = key.to_owned();
    Ok(KnownIndex { key, digest })
}

impl SourceArgs {
    /// The source, of which no more than `fetches` are under way at a time, and none for longer
    /// than `deadline`.
    pub fn open(&self, fetches: usize, deadline: Duration) -> Result<Box<dyn Backend>> {
        let source = self.open_plain(fetches, deadline)?;
        Ok(Box::new(Verified::new(source, self.verify, self.known())))
    }

    /// The index of a blob, which has to have one.
    pub fn index_of(&self, key: &str) -> Result<Index> {
        let source = self.open_plain(1, Duration::MAX)?;
        let verified = Verified::new(source, Verify::Always, self.known());
        // Neither kind of source looks at the volume.
        let index = verified.index(b"", key.as_bytes())?;
        index.with_context(|| format!("{key} has no index"))
    }

    /// The digests that were given, by blob.
    fn known(&self) -> HashMap<Vec<u8>, Digest> {
        let known = self.index_digest.iter();
        let known = known.map(|it| (it.key.clone().into_bytes(), it.digest));
        known.collect()
    }

    fn open_plain(&self, fetches: usize, deadline: Duration) -> Result<Box<dyn Backend>> {
        match (&self.blobs, &self.url) {
            (Some(dir), _) => Ok(Box::new(LocalDir::new(dir)?)),
            (None, Some(url)) => {
                let options = self.server.options(fetches, deadline);
                Ok(Box::new(Http::new(BaseUrl::new(url)?, &options)?))
            }
            (None, None) if !self.images.image.is_empty() => {
                let options = self.server.options(fetches, deadline);
                Ok(Box::new(self.images.open(options)?))
            }
            (None, None) => bail!("no source of blobs: give --blobs DIR, --url URL or --image"),
        }
    }

    /// Whether it is at the other end of a network.
    pub fn is_remote(&self) -> bool {
        self.url.is_some() || !self.images.image.is_empty()
    }

    /// These options, for another process.
    pub fn arguments(&self) -> Vec<OsString> {
        let timeout = OsString::from(self.server.request_timeout.to_string());
        let verify = self.verify.to_possible_value();
        let verify = verify.map_or_else(String::new, |it| it.get_name().to_owned());
        let path = |path: &Option<PathBuf>| path.clone().map(OsString::from);
        let options = [
            ("--blobs", path(&self.blobs)),
            ("--url", self.url.clone().map(OsString::from)),
            ("--ca-file", path(&self.server.ca_file)),
            ("--proxy", self.server.proxy.clone().map(OsString::from)),
            ("--request-timeout", Some(timeout)),
            ("--verify", Some(verify.into())),
        ];
        let known = self.index_digest.iter().flat_map(|known| {
            let value = format!("{}={}", known.key, hexadecimal(&known.digest));
            ["--index-digest".to_owned(), value].map(OsString::from)
        });
        let given = options.into_iter().filter_map(|(name, value)| {
            let value = value?;
            Some([OsString::from(name), value])
        });
        let images = self.images.arguments();
        given.flatten().chain(known).chain(images).collect()
    }
}

impl fmt::Display for SourceArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.blobs, &self.url) {
            (Some(dir), _) => write!(f, "{}", dir.display()),
            (None, Some(url)) => f.write_str(url),
            (None, None) => self.images.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        source: SourceArgs,
    }

    #[test]
    fn a_worker_gets_the_options_that_its_supervisor_has() {
        let digest = format!("app=1.erofs={:064x}", 0xabcdu32);
        let arguments = [
            "x",
            "--url=http://h/",
            "--ca-file=/c",
            "--proxy=http://p:1",
            "--request-timeout=3",
            "--verify=always",
            "--index-digest",
            &digest,
        ];
        let first = Cli::try_parse_from(arguments).unwrap().source;
        assert_eq!(first.index_digest[0].key, "app=1.erofs");
        let passed = [vec![OsString::from("x")], first.arguments()].concat();
        let second = Cli::try_parse_from(passed).unwrap().source;
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
        let blobs = Cli::try_parse_from(["x", "--blobs=/b"]).unwrap().source;
        assert!(!blobs.is_remote() && first.is_remote());
    }

    #[test]
    fn images_are_passed_on_and_are_no_source_beside_another() {
        let arguments = [
            "x",
            "--image=app=h.org/app:1",
            "--image",
            "b=h.org/b",
            "--image=me:secret@h.org/c",
            "--docker-config=/d",
            "--plain-http",
            "--indexes=/i",
        ];
        let first = Cli::try_parse_from(arguments).unwrap().source;
        assert!(first.is_remote());
        assert_eq!(first.to_string(), "app (h.org/app:1), b (h.org/b:latest)");
        let passed = [vec![OsString::from("x")], first.arguments()].concat();
        let second = Cli::try_parse_from(passed).unwrap().source;
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
        assert!(!format!("{first:?}{:?}", first.arguments()).contains("secret"));
        assert!(second.open(1, Duration::MAX).is_err());
        for other in ["--blobs=/b", "--url=http://h/"] {
            let both = ["x", "--image=app=h.org/app:1", other];
            assert!(Cli::try_parse_from(both).is_err(), "{other}");
        }
        for wrong in [
            "app",
            "app=",
            "=h.org/app",
            "a:1=h.org/app",
            "sha256=h.org/app",
        ] {
            let image = format!("--image={wrong}");
            assert!(Cli::try_parse_from(["x", &image]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let long = "0".repeat(64);
        for text in [
            "a",
            "=",
            "a=12",
            &format!("={long}"),
            &format!("a={long}0"),
            &format!("a={}+", &long[1..]),
        ] {
            assert!(parse_known(text).is_err(), "{text}");
        }
    }
}
