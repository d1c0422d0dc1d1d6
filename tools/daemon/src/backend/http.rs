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

pub(super) mod agent;
pub(super) mod answer;
mod tls;
mod url;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use cachefiles_protocol::Errno;
use sha2::{Digest, Sha256};
use ureq::http::Response;
use ureq::http::header::{ACCEPT, ACCEPT_ENCODING, RANGE};
use ureq::{Agent, Body};

pub use self::agent::HttpOptions;
use self::agent::{Roots, no_answer, read_body};
use self::answer::Mark;
pub use self::url::BaseUrl;
use super::error::{Fault, SourceError};
use super::pause::Pauses;
use super::{Backend, Blob, hexadecimal};

/// How much of a blob is looked at when it is opened.
const HEAD: u64 = 4096;

/// How many more places of it are looked at where its mark says little, and how much of each. Each
/// is a request.
const PLACES: u64 = 7;
const PLACE: u64 = 4096;

/// The name of the server among those that want a pause: there is no other.
const SERVER: &str = "";

/// A server.
pub struct Http {
    agent: Agent,
    base: BaseUrl,
    pauses: Arc<Pauses>,
}

impl Http {
    /// Prepares for asking a server; it is not asked yet.
    pub fn new(base: BaseUrl, options: &HttpOptions) -> Result<Self> {
        let roots = match base.is_https() {
            true => Roots::Wanted,
            false => Roots::None,
        };
        let agent = agent::agent(roots, options)?;
        Ok(Self {
            agent,
            base,
            pauses: Arc::default(),
        })
    }
}

impl Backend for Http {
    fn open(&self, _volume_key: &[u8], cookie_key: &[u8]) -> io::Result<Box<dyn Blob>> {
        let url = self.base.of(cookie_key).ok_or(Errno::INVAL)?;
        let mut blob = HttpBlob {
            agent: self.agent.clone(),
            pauses: Arc::clone(&self.pauses),
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
    /// The server's, whichever blob it was that heard of it.
    pauses: Arc<Pauses>,
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
        self.pauses.check(SERVER)?;
        let mut request = self
            .agent
            .get(&self.url)
            .header(ACCEPT, "*/*")
            .header(ACCEPT_ENCODING, "identity")
            .header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        if let Some((name, value)) = self.mark.as_ref().map(Mark::condition) {
            request = request.header(name, value);
        }
        let response = request.call().map_err(|error| no_answer(&error))?;
        self.pauses.note_answer(SERVER, &response);
        Ok(response)
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
