// SPDX-License-Identifier: GPL-2.0
//! Images of a registry (OCI distribution): their layers that are an EROFS, as blobs.
//!
//! An image is named by the configuration, and its manifest is fetched once, when the first of its
//! layers is opened. The manifest says which digest and size each layer has, and these are what a
//! blob is known by: opening it asks nobody. Ranges are fetched as from any web server, from the
//! registry or from the store that it sends us on to.

pub mod auth;
mod challenge;
mod credentials;
mod deadline;
mod helper;
mod manifest;
mod reference;
mod registry;
mod token;

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use cachefiles_protocol::Errno;
use sha2::{Digest as _, Sha256};
use ureq::http::StatusCode;

use self::credentials::Credentials;
pub use self::credentials::helpers;
use self::manifest::{Document, Layer};
pub use self::reference::DOUBTFUL;
pub use self::reference::Reference;
use self::reference::{Which, digest_of};
use self::registry::{Answer, Client, Repository, Store, origin};
use self::token::Tokens;
use super::chunks::SUFFIX;
use super::error::{Fault, SourceError};
use super::http::agent::{Roots, agent, read_body};
use super::http::{HttpOptions, answer};
use super::pause::Pauses;
use super::{Backend, Blob, LocalDir, hexadecimal};

/// How registries are asked.
#[derive(Debug, Clone)]
pub struct OciOptions {
    /// As servers are.
    pub http: HttpOptions,
    /// Docker's `config.json`, for credentials.
    pub docker_config: Option<PathBuf>,
    /// Without TLS.
    pub is_plain: bool,
    /// The directory of the indexes of blobs.
    pub indexes: Option<PathBuf>,
}

/// Images, by the names that were given to them.
pub struct Oci {
    images: Vec<Image>,
    indexes: Option<LocalDir>,
}

struct Image {
    name: String,
    reference: Reference,
    repository: Arc<Repository>,
    /// Whoever fetches the manifest has the lock.
    layers: Mutex<Option<Arc<[Layer]>>>,
}

/// Whether an image may have this name: a colon and a number behind it stand for a layer.
pub fn check_name(name: &str) -> Result<()> {
    let is_name = |byte: u8| byte.is_ascii_graphic() && !b":/,\\=".contains(&byte);
    ensure!(
        !name.is_empty() && name != "sha256" && name.bytes().all(is_name),
        "{name:?} cannot be the name of an image: letters, digits and most signs, but none of :/,\\="
    );
    ensure!(
        !name.ends_with(SUFFIX),
        "{name:?}: {SUFFIX} is the end of the name of an index"
    );
    Ok(())
}

impl Oci {
    /// Prepares for asking; nobody is asked yet.
    pub fn new(images: &[(String, Reference)], options: &OciOptions) -> Result<Self> {
        // Where registries are asked without TLS, stores and who gives tokens may want it.
        let roots = match options.is_plain {
            true => Roots::IfAny,
            false => Roots::Wanted,
        };
        let client = Arc::new(Client {
            agent: agent(roots, &options.http)?,
            is_plain: options.is_plain,
            pauses: Pauses::default(),
            timeout: options.http.timeout,
        });
        let credentials = Arc::new(Credentials::new(options.docker_config.clone()));
        // Images of one repository share its token.
        let mut repositories: HashMap<(String, String), Arc<Repository>> = HashMap::new();
        let mut known: Vec<Image> = Vec::new();
        for (name, reference) in images {
            check_name(name)?;
            ensure!(
                known.iter().all(|image| image.name != *name),
                "two images have the name {name}"
            );
            let (host, repository) = (reference.host(), reference.repository());
            let repository = repositories
                .entry((host.to_owned(), repository.to_owned()))
                .or_insert_with(|| {
                    let tokens = Tokens {
                        client: Arc::clone(&client),
                        credentials: Arc::clone(&credentials),
                        host: host.to_owned(),
                        repository: repository.to_owned(),
                    };
                    let client = Arc::clone(&client);
                    Arc::new(Repository::new(
                        client,
                        reference.authority(),
                        repository,
                        tokens,
                    ))
                });
            known.push(Image {
                name: name.clone(),
                reference: reference.clone(),
                repository: Arc::clone(repository),
                layers: Mutex::default(),
            });
        }
        let indexes = options.indexes.as_deref().map(LocalDir::new).transpose()?;
        Ok(Self {
            images: known,
            indexes,
        })
    }

    /// The blob of a key: `NAME` is the layer of an image that has only one, `NAME:N` its Nth, from
    /// 1 on, and `sha256:DIGEST` the layer of that digest, of whichever image has it.
    pub fn layer(&self, key: &[u8]) -> io::Result<OciBlob> {
        let absent = |what: String| SourceError::new(Fault::Absent, what);
        let key = std::str::from_utf8(key).map_err(|_| Errno::INVAL)?;
        if let Some(digest) = digest_of(key) {
            return self.layer_of_digest(&digest);
        }
        let (name, number) = match key.rsplit_once(':') {
            Some((name, number)) => (name, Some(number)),
            None => (key, None),
        };
        let Some(image) = self.images.iter().find(|image| image.name == name) else {
            return Err(absent(format!("no image has the name {}", name.escape_debug())).into());
        };
        let layers = image.layers()?;
        let layer = match number {
            None if layers.len() > 1 => {
                let message = format!(
                    "{} has {} layers that are an EROFS: they are {name}:1 to {name}:{1}",
                    image.reference,
                    layers.len()
                );
                return Err(SourceError::new(Fault::Useless, message).into());
            }
            None => layers.first(),
            Some(number) => number
                .parse::<usize>()
                .ok()
                .and_then(|number| layers.get(number.checked_sub(1)?)),
        };
        let has = || format!("{} has {} layers", image.reference, layers.len());
        Ok(image.blob(layer.ok_or_else(|| absent(has()))?))
    }

    fn layer_of_digest(&self, digest: &str) -> io::Result<OciBlob> {
        let mut failed = None;
        for image in &self.images {
            match image.layers() {
                Ok(layers) => {
                    if let Some(layer) = layers.iter().find(|layer| layer.digest == digest) {
                        return Ok(image.blob(layer));
                    }
                }
                // It may be of the next one.
                Err(error) => failed = Some(error),
            }
        }
        let message = format!("no image has a layer sha256:{digest} that is an EROFS");
        let absent = || SourceError::new(Fault::Absent, message).into();
        Err(failed.unwrap_or_else(absent))
    }

    /// The name of a layer's index in the directory of indexes.
    pub fn index_name(digest: &str) -> String {
        format!("{digest}{SUFFIX}")
    }
}

impl Image {
    /// The layers, which are asked for once.
    fn layers(&self) -> io::Result<Arc<[Layer]>> {
        let mut known = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layers) = &*known {
            return Ok(Arc::clone(layers));
        }
        let layers: Arc<[Layer]> = self
            .fetch()
            .map_err(|error| error.of(&self.reference))?
            .into();
        tracing::info!(
            "{} is {}: {} layers that are an EROFS",
            self.name,
            self.reference,
            layers.len()
        );
        *known = Some(Arc::clone(&layers));
        Ok(layers)
    }

    fn fetch(&self) -> Result<Vec<Layer>, SourceError> {
        let mut which = self.reference.which().clone();
        for _ in 0..2 {
            match manifest::parse(&self.document(&which)?)? {
                Document::Image(layers) => return Ok(layers),
                Document::Platforms(digest) => which = Which::Digest(digest),
            }
        }
        let message = "an index of images has another one in it";
        Err(SourceError::new(Fault::Useless, message))
    }

    /// What the registry has under a tag or digest; with that digest, if it is one.
    fn document(&self, which: &Which) -> Result<Vec<u8>, SourceError> {
        let name = match which {
            Which::Tag(tag) => tag.clone(),
            Which::Digest(digest) => format!("sha256:{digest}"),
        };
        let Answer {
            mut response, uri, ..
        } = self.repository.manifest(&name, manifest::ACCEPT)?;
        if response.status() != StatusCode::OK {
            let error = answer::refusal(response.status(), response.headers());
            return Err(error.of(origin(&uri)));
        }
        let mut bytes = Vec::new();
        let body = response.body_mut().as_reader();
        body.take(manifest::MAX_SIZE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| {
                SourceError::new(Fault::Passing, format!("the manifest was cut off: {error}"))
            })?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > manifest::MAX_SIZE) {
            let message = "the manifest of the image is too large to be one";
            return Err(SourceError::new(Fault::Useless, message));
        }
        let digest = hexadecimal(&Sha256::digest(&bytes));
        if matches!(which, Which::Digest(wanted) if *wanted != digest) {
            let message = format!(
                "the manifest has the digest sha256:{digest}, and not the one it was asked for by"
            );
            return Err(SourceError::new(Fault::Corrupt, message));
        }
        Ok(bytes)
    }

    fn blob(&self, layer: &Layer) -> OciBlob {
        OciBlob {
            repository: Arc::clone(&self.repository),
            layer: layer.clone(),
            store: Store::default(),
        }
    }
}

impl Backend for Oci {
    fn open(&self, volume_key: &[u8], cookie_key: &[u8]) -> io::Result<Box<dyn Blob>> {
        let Some(key) = cookie_key.strip_suffix(SUFFIX.as_bytes()) else {
            return Ok(Box::new(self.layer(cookie_key)?));
        };
        let Some(indexes) = &self.indexes else {
            let message = "there is no directory of indexes (--indexes)";
            return Err(SourceError::new(Fault::Absent, message).into());
        };
        let name = Self::index_name(&self.layer(key)?.layer.digest);
        indexes.open(volume_key, name.as_bytes())
    }
}

/// One layer.
pub struct OciBlob {
    repository: Arc<Repository>,
    layer: Layer,
    store: Store,
}

impl OciBlob {
    /// Reads the range that was asked for out of an answer, to its end.
    fn take(
        &self,
        mut answer: Answer,
        buffer: &mut [u8],
        range: &Range<u64>,
    ) -> Result<(), SourceError> {
        let (status, headers) = (answer.response.status(), answer.response.headers());
        answer::check(status, headers, range, self.layer.size, None)
            .and_then(|()| read_body(&mut answer.response, buffer))
            .map_err(|error| error.of(origin(&answer.uri)))
    }

    /// SHA-256 of the whole of it, in hexadecimal digits, as the manifest says.
    pub fn digest(&self) -> &str {
        &self.layer.digest
    }
}

impl Blob for OciBlob {
    fn size(&self) -> u64 {
        self.layer.size
    }

    fn identity(&self) -> String {
        format!("size={} sha256={}", self.layer.size, self.layer.digest)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        let length = u64::try_from(buffer.len()).map_err(|_| Errno::OVERFLOW)?;
        let range = offset..offset.checked_add(length).ok_or(Errno::OVERFLOW)?;
        let deadline = self.repository.deadline();
        // The store that has it is asked without the registry. If anything is wrong with that, the
        // registry knows what to do.
        if let Some(uri) = self.store.get() {
            let answer = self.repository.of_store(uri, &range, deadline);
            match answer.and_then(|it| self.take(it, buffer, &range)) {
                Ok(()) => return Ok(()),
                Err(error) => tracing::debug!("the registry is asked for another store: {error}"),
            }
            self.store.forget();
        }
        let answer = self.repository.blob(&self.layer.digest, &range, deadline)?;
        let store = answer.is_away.then(|| answer.uri.clone());
        self.take(answer, buffer, &range)?;
        if let Some(uri) = store {
            self.store.set(uri);
        }
        Ok(())
    }

    fn distrust(&self) {
        self.store.forget();
    }
}
