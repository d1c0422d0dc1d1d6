// SPDX-License-Identifier: GPL-2.0
//! Which images of registries blobs come from: the options for that.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::backend::oci::{DOUBTFUL, check_name, helpers};
use crate::backend::{HttpOptions, Oci, OciOptions, Reference};

/// Images, and how their registries are asked.
#[derive(Debug, Clone, Args)]
pub struct ImageArgs {
    /// Image of a registry in place of a directory, HOST/REPOSITORY:TAG or ...@sha256:DIGEST: its
    /// layer that is an EROFS is the blob NAME (of more than one: NAME:1 and so on). Once for each
    #[arg(long, value_name = "NAME=IMAGE", value_parser = parse_image)]
    pub image: Vec<NamedImage>,
    /// Docker's config.json, for credentials and their helpers; without it, none are used
    #[arg(long, value_name = "FILE")]
    pub docker_config: Option<PathBuf>,
    /// Ask registries without TLS: whoever is in between can read and change everything
    #[arg(long)]
    pub plain_http: bool,
    /// Directory of the indexes of images' layers, where `index` puts them
    #[arg(long, value_name = "DIR")]
    pub indexes: Option<PathBuf>,
}

/// An image, and the name of its blob. `None` stands for what is not understood and may have a
/// password in it: the parser of the command line repeats what is refused while it is read, so that
/// this is refused later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage(Option<(String, Reference)>);

fn parse_image(text: &str) -> Result<NamedImage, String> {
    match parse_pair(text) {
        Err(_) if text.contains('@') => Ok(NamedImage(None)),
        parsed => parsed.map(|pair| NamedImage(Some(pair))),
    }
}

fn parse_pair(text: &str) -> Result<(String, Reference), String> {
    let (name, reference) = text.split_once('=').ok_or("NAME=IMAGE is wanted")?;
    check_name(name).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), Reference::parse(reference)?))
}

impl ImageArgs {
    /// The images as a source. The file of credentials has to be there and to be understood: later
    /// on it may be in the middle of being written, and that passes.
    pub fn open(&self, http: HttpOptions) -> Result<Oci> {
        if let Some(path) = &self.docker_config {
            helpers(path)?;
        }
        let options = OciOptions {
            http,
            docker_config: self.docker_config.clone(),
            is_plain: self.plain_http,
            indexes: self.indexes.clone(),
        };
        let pair = |it: &NamedImage| it.0.clone().context(format!("--image: {DOUBTFUL}"));
        let images = self.image.iter().map(pair).collect::<Result<Vec<_>>>()?;
        Oci::new(&images, &options)
    }

    /// Warns of each image that may become another one.
    pub fn warn_of_tags(&self) {
        for (name, reference) in self.image.iter().filter_map(|image| image.0.as_ref()) {
            if reference.is_tag() {
                tracing::warn!(
                    "{name} is named by a tag ({reference}): if that moves, the next start refuses \
                     to open it, even where it is mounted; name it by its digest"
                );
            }
        }
    }

    /// These options, for another process.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        for image in &self.image {
            // The other process refuses an @ alone as well.
            let text = match &image.0 {
                Some((name, reference)) => format!("{name}={reference}"),
                None => "@".to_owned(),
            };
            arguments.extend(["--image".into(), text.into()]);
        }
        let paths = [
            ("--docker-config", &self.docker_config),
            ("--indexes", &self.indexes),
        ];
        for (option, path) in paths {
            if let Some(path) = path {
                arguments.extend([OsString::from(option), path.clone().into()]);
            }
        }
        arguments.extend(self.plain_http.then(|| OsString::from("--plain-http")));
        arguments
    }
}

impl fmt::Display for ImageArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.image.iter().filter_map(|image| image.0.as_ref());
        for (at, (name, reference)) in known.enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name} ({reference})")?;
        }
        Ok(())
    }
}
