// SPDX-License-Identifier: GPL-2.0
//! Blobs of a web server, fetched range by range.
//!
//! A blob is known by its size, by its ETag, or by the time of its last change where the server has
//! no (strong) ETags, and by a digest of its first bytes: an EROFS has a checksum and an id of its
//! own there. Where the mark is made of the time, which is often set, some more places of it are
//! looked at. Each request names that ETag or time, and each answer is looked at again, so that a
//! content that was replaced is an error and never served beside what was cached of the first.
//!
//! Requests block: they are made on the threads that wait for sources. A connection goes back to a
//! pool when its answer was read to the end.

mod answer;
mod tls;
mod url;

use std::io::{self, Read as _};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cachefiles_protocol::Errno;
use sha2::{Digest, Sha256};
use ureq::http::Response;
use ureq::http::header::{ACCEPT, ACCEPT_ENCODING, RANGE};
use ureq::{Agent, Body, Proxy};

use self::answer::Mark;
pub use self::url::BaseUrl;
use super::error::{Fault, SourceError};
use super::{Backend, Blob, hexadecimal};

/// How much of a blob is looked at when it is opened.
const HEAD: u64 = 4096;

/// How many more places of it are looked at where its mark says little, and how much of each. Each
/// is a request.
const PLACES: u64 = 7;
const PLACE: u64 = 4096;

/// How long a connection may lie idle: servers close theirs after a minute or so.
const IDLE: Duration = Duration::from_secs(30);

/// How a server is asked.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// The certificates by which the server is believed, in PEM; the system's if not given.
    pub ca_file: Option<PathBuf>,
    /// A proxy by which it is reached.
    pub proxy: Option<String>,
    /// How long a request may take, from looking up the server to the last byte.
    pub timeout: Duration,
    /// How many connections are kept.
    pub connections: usize,
}

/// A server.
pub struct Http {
    agent: Agent,
    base: BaseUrl,
}

impl Http {
    /// Prepares for asking a server; it is not asked yet.
    pub fn new(base: BaseUrl, options: &HttpOptions) -> Result<Self> {
        let proxy = options.proxy.as_deref();
        ensure!(
            !proxy.is_some_and(|it| it.contains('@')),
            "a proxy with a user or a password is not supported: everybody would see it in the \
             list of processes"
        );
        let proxy = proxy.map(Proxy::new).transpose();
        let config = Agent::config_builder()
            .tls_config(tls::config(&base, options.ca_file.as_deref())?)
            .proxy(proxy.context("the proxy")?)
            .user_agent(concat!("cachefiles-ondemandd/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // What a redirect leads to is another content, as far as anybody can tell.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(options.timeout))
            .max_idle_age(IDLE)
            .max_idle_connections(options.connections)
            .max_idle_connections_per_host(options.connections)
            .build();
        let agent = config.new_agent();
        Ok(Self { agent, base })
    }
}

impl Backend for Http {
    fn open(&self, _volume_key: &[u8], cookie_key: &[u8]) -> io::Result<Box<dyn Blob>> {
        let url = self.base.of(cookie_key).ok_or(Errno::INVAL)?;
        let mut blob = HttpBlob {
            agent: self.agent.clone(),
            url,
            size: 0,
            mark: None,
            identity: "size=0".into(),
        };
        let mut response = blob.get(&(0..HEAD))?;
        let (status, headers) = (response.status(), response.headers());
        if answer::is_empty(status, headers) {
            return Ok(Box::new(blob));
        }
        let (range, size) = answer::part(status, headers)?;
        if range != (0..size.min(HEAD)) {
            let message = format!("the server sends bytes {range:?}, and was asked for the first");
            return Err(SourceError::new(Fault::Useless, message).into());
        }
        let Some(mark) = Mark::of(headers) else {
            let message = "the server gives neither a strong ETag nor Last-Modified, so that \
                           nobody would notice when the blob is replaced";
            return Err(SourceError::new(Fault::Useless, message).into());
        };
        let mut head = [0; HEAD as usize];
        let length = usize::try_from(range.end).map_err(|_| Errno::OVERFLOW)?;
        let head = head.get_mut(..length).ok_or(Errno::OVERFLOW)?;
        read_body(&mut response, head)?;
        blob.identity = format!(
            "size={size} {} head={}",
            mark.identity(),
            hexadecimal(&Sha256::digest(head))
        );
        let is_of_time = mark.is_of_time(size);
        blob.size = size;
        blob.mark = Some(mark);
        if is_of_time && size > HEAD {
            let places = blob.places()?;
            blob.identity = format!("{} places={places}", blob.identity);
        }
        Ok(Box::new(blob))
    }
}

/// One blob of a server.
struct HttpBlob {
    agent: Agent,
    url: String,
    size: u64,
    /// None for one that is empty.
    mark: Option<Mark>,
    identity: String,
}

impl HttpBlob {
    /// The digest of some places behind the head, the end among them.
    fn places(&self) -> io::Result<String> {
        let mut digest = Sha256::new();
        let mut buffer = [0; PLACE as usize];
        let last = self.size.saturating_sub(PLACE);
        for place in 1..=PLACES {
            let at = u128::from(last) * u128::from(place) / u128::from(PLACES);
            let at = u64::try_from(at).map_err(|_| Errno::OVERFLOW)?;
            self.read_exact_at(&mut buffer, at)?;
            digest.update(buffer);
        }
        Ok(hexadecimal(&digest.finalize()))
    }

    /// Asks for a range of the content that was there when it was opened.
    fn get(&self, range: &Range<u64>) -> Result<Response<Body>, SourceError> {
        let mut request = self
            .agent
            .get(&self.url)
            .header(ACCEPT, "*/*")
            .header(ACCEPT_ENCODING, "identity")
            .header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        if let Some((name, value)) = self.mark.as_ref().map(Mark::condition) {
            request = request.header(name, value);
        }
        request.call().map_err(|error| no_answer(&error))
    }
}

/// No answer came, or none in HTTP.
fn no_answer(error: &ureq::Error) -> SourceError {
    let is_doubted = |error: &io::Error| {
        let of_tls = error.get_ref().and_then(|it| it.downcast_ref());
        matches!(of_tls, Some(rustls::Error::InvalidCertificate(_)))
    };
    let fault = match error {
        ureq::Error::Io(error) if is_doubted(error) => Fault::Useless,
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::BadUri(_) => Fault::Useless,
        _ => Fault::Passing,
    };
    SourceError::new(fault, format!("no answer from the server: {error}"))
}

/// Reads a body that is as long as the buffer. To its end, or its connection is of no use any more.
fn read_body(response: &mut Response<Body>, buffer: &mut [u8]) -> Result<(), SourceError> {
    let mut body = response.body_mut().as_reader();
    body.read_exact(buffer).map_err(|error| {
        SourceError::new(Fault::Passing, format!("the answer was cut off: {error}"))
    })?;
    match body.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(SourceError::new(
            Fault::Useless,
            "the server sends more than it says",
        )),
        Err(error) => Err(SourceError::new(
            Fault::Passing,
            format!("the answer does not end: {error}"),
        )),
    }
}

impl Blob for HttpBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        let length = u64::try_from(buffer.len()).map_err(|_| Errno::OVERFLOW)?;
        let range = offset..offset.checked_add(length).ok_or(Errno::OVERFLOW)?;
        let mut response = self.get(&range)?;
        let (status, headers) = (response.status(), response.headers());
        answer::check(status, headers, &range, self.size, self.mark.as_ref())?;
        read_body(&mut response, buffer)?;
        Ok(())
    }
}
