// SPDX-License-Identifier: GPL-2.0
//! Which images of registries blobs come from: the options for that.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::backend::oci::check_name;
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

/// An image, and the name of its blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    name: String,
    reference: Reference,
}

fn parse_image(text: &str) -> Result<NamedImage, String> {
    let (name, reference) = text.split_once('=').ok_or("NAME=IMAGE is wanted")?;
    check_name(name).map_err(|error| error.to_string())?;
    Ok(NamedImage {
        name: name.to_owned(),
        reference: Reference::parse(reference)?,
    })
}

impl ImageArgs {
    /// The images as a source.
    pub fn open(&self, http: HttpOptions) -> Result<Oci> {
        let options = OciOptions {
            http,
            docker_config: self.docker_config.clone(),
            is_plain: self.plain_http,
            indexes: self.indexes.clone(),
        };
        let pair = |it: &NamedImage| (it.name.clone(), it.reference.clone());
        let images: Vec<_> = self.image.iter().map(pair).collect();
        Oci::new(&images, &options)
    }

    /// These options, for another process.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        for NamedImage { name, reference } in &self.image {
            arguments.extend(["--image".into(), format!("{name}={reference}").into()]);
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
        for (at, NamedImage { name, reference }) in self.image.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name} ({reference})")?;
        }
        Ok(())
    }
}
