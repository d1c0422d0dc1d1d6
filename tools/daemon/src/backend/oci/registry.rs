// SPDX-License-Identifier: GPL-2.0
//! Requests to a registry, and to the stores that it sends us on to.
//!
//! What proves who we are goes to the registry and to who gives its tokens, and never along with a
//! redirect to another server. URLs of such stores have a key of their own in them, so that they
//! are no more shown than tokens are.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, LOCATION, RANGE};
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::auth::{Auth, Pass};
use super::challenge::Challenge;
use super::token::Tokens;
use crate::backend::error::{Fault, SourceError};
use crate::backend::http::agent::no_answer;
use crate::backend::http::answer;
use crate::backend::pause::{Pauses, is_pausing};

/// How many redirects are followed.
const REDIRECTS: usize = 4;

/// For how long a store that a registry has named is asked without asking the registry: what it
/// names is good for some minutes.
const STORE_FOR: Duration = Duration::from_secs(60);

/// What is the same for all repositories.
pub struct Client {
    /// By which requests are made.
    pub agent: Agent,
    /// Whether registries are asked without TLS.
    pub is_plain: bool,
    /// Who is to be left alone.
    pub pauses: Pauses,
}

/// One repository of a registry.
pub struct Repository {
    client: Arc<Client>,
    base: String,
    auth: Auth<Tokens>,
}

/// Where a store has a blob, for a while.
#[derive(Default)]
pub struct Store(Mutex<Option<(Uri, Instant)>>);

impl Store {
    fn get(&self) -> Option<Uri> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (uri, until) = known.as_ref()?;
        (*until > Instant::now()).then(|| uri.clone())
    }

    fn set(&self, uri: Option<Uri>) {
        let until = Instant::now() + STORE_FOR;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = uri.map(|uri| (uri, until));
    }
}

fn useless(message: impl Into<String>) -> SourceError {
    SourceError::new(Fault::Useless, message)
}

/// Scheme and server: who gets what is sent to a URL.
fn origin(uri: &Uri) -> String {
    let (scheme, host) = (uri.scheme_str(), uri.host());
    let (scheme, host) = (scheme.unwrap_or_default(), host.unwrap_or_default());
    let usual = if scheme == "http" { 80 } else { 443 };
    let port = uri.port_u16().unwrap_or(usual);
    format!("{scheme}://{}:{port}", host.to_ascii_lowercase())
}

impl Client {
    /// Asks for something once.
    pub fn send(
        &self,
        uri: &Uri,
        accept: &str,
        range: Option<&Range<u64>>,
        authorization: Option<&str>,
    ) -> Result<Response<Body>, SourceError> {
        let server = origin(uri);
        self.pauses.check(&server)?;
        let mut request = self
            .agent
            .get(uri)
            .header(ACCEPT, accept)
            .header(ACCEPT_ENCODING, "identity");
        if let Some(range) = range {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        if let Some(value) = authorization {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| useless("what proves who we are cannot stand in a request"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let response = request.call().map_err(|error| no_answer(&error))?;
        self.pauses.note_answer(&server, &response);
        Ok(response)
    }

    /// Whether that is a server that may be asked: without TLS only where that was allowed.
    pub fn may_ask(&self, uri: &Uri) -> bool {
        let is_plain = self.is_plain && uri.scheme_str() == Some("http");
        (uri.scheme_str() == Some("https") || is_plain) && uri.host().is_some()
    }

    /// Where a redirect leads, from where it was found.
    fn target(&self, from: &Uri, response: &Response<Body>) -> Result<Uri, SourceError> {
        let to = response.headers().get(LOCATION);
        let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
        let full = match to.starts_with('/') && !to.starts_with("//") {
            true => format!("{}{to}", origin(from)),
            false => to.to_owned(),
        };
        let uri: Option<Uri> = full.parse().ok();
        let is_server = |uri: &Uri| self.may_ask(uri);
        // The host alone is shown: what follows may have a key in it.
        uri.filter(is_server).ok_or_else(|| {
            useless("the registry sends us on to something that is no https:// URL of a server")
        })
    }
}

impl Repository {
    /// The repository of that name at a server; it is not asked yet.
    pub fn new(client: Arc<Client>, authority: &str, name: &str, tokens: Tokens) -> Self {
        let scheme = if client.is_plain { "http" } else { "https" };
        Self {
            client,
            base: format!("{scheme}://{authority}/v2/{name}"),
            auth: Auth::new(tokens),
        }
    }

    /// Asks for a manifest.
    pub fn manifest(&self, which: &str, accept: &str) -> Result<Response<Body>, SourceError> {
        self.get(&format!("manifests/{which}"), accept, None, None)
    }

    /// Asks for a range of a blob, of the store that has it if that is known.
    pub fn blob(
        &self,
        digest: &str,
        range: &Range<u64>,
        store: &Store,
    ) -> Result<Response<Body>, SourceError> {
        if let Some(uri) = store.get() {
            let response = self.client.send(&uri, "*/*", Some(range), None)?;
            if response.status() == StatusCode::PARTIAL_CONTENT || is_pausing(response.status()) {
                return Ok(response);
            }
            // It is over, or something else is wrong: the registry knows.
            store.set(None);
        }
        let path = format!("blobs/sha256:{digest}");
        self.get(&path, "*/*", Some(range), Some(store))
    }

    /// Asks the registry for something, and goes where it leads.
    fn get(
        &self,
        path: &str,
        accept: &str,
        range: Option<&Range<u64>>,
        store: Option<&Store>,
    ) -> Result<Response<Body>, SourceError> {
        let uri = format!("{}/{path}", self.base);
        let mut uri: Uri = uri.parse().map_err(|_| useless("this is no URL"))?;
        let registry = origin(&uri);
        let mut response = self.get_let_in(&uri, accept, range)?;
        let mut is_away = false;
        for _ in 0..REDIRECTS {
            if !response.status().is_redirection() {
                return Ok(response);
            }
            uri = self.client.target(&uri, &response)?;
            // Who has been elsewhere does not come back as who he was.
            is_away |= origin(&uri) != registry;
            response = match is_away {
                false => self.get_let_in(&uri, accept, range)?,
                true => self.client.send(&uri, accept, range, None)?,
            };
            let is_found = response.status() == StatusCode::PARTIAL_CONTENT;
            if let Some(store) = store.filter(|_| is_away && is_found) {
                store.set(Some(uri.clone()));
            }
        }
        match response.status().is_redirection() {
            true => Err(useless("the registry sends us on and on")),
            false => Ok(response),
        }
    }

    /// Asks the registry itself, and proves who we are if it wants to know.
    fn get_let_in(
        &self,
        uri: &Uri,
        accept: &str,
        range: Option<&Range<u64>>,
    ) -> Result<Response<Body>, SourceError> {
        let pass = self.auth.enter()?;
        let (response, pass) = self.send(pass, uri, accept, range)?;
        if !is_refusal(&pass, response.status()) {
            return Ok(self.end(response, pass));
        }
        let challenge = Challenge::of(response.headers());
        let pass = self.auth.again(pass, challenge)?;
        let (response, pass) = self.send(pass, uri, accept, range)?;
        match is_refusal(&pass, response.status()) {
            true => Err(self.auth.refuse(pass)),
            false => Ok(self.end(response, pass)),
        }
    }

    /// Asks the registry itself once. Who waits for how that ends is told if there is no answer.
    fn send<'a>(
        &'a self,
        pass: Pass<'a>,
        uri: &Uri,
        accept: &str,
        range: Option<&Range<u64>>,
    ) -> Result<(Response<Body>, Pass<'a>), SourceError> {
        match self.client.send(uri, accept, range, pass.header()) {
            Ok(response) => Ok((response, pass)),
            Err(error) => {
                self.auth.unanswered(pass, &error);
                Err(error)
            }
        }
    }

    /// Notes how a request has ended that was not refused as one of somebody unknown.
    fn end(&self, response: Response<Body>, pass: Pass<'_>) -> Response<Body> {
        let status = response.status();
        // One that is busy has not looked who asks; and one that forbids it to somebody whom it has
        // not asked who that is has not let anybody in.
        let is_forbidden = status == StatusCode::FORBIDDEN && pass.header().is_none();
        if status.is_server_error() || is_pausing(status) || is_forbidden {
            let error = answer::refusal(status, response.headers());
            self.auth.unanswered(pass, &error);
        } else {
            self.auth.let_in(pass);
        }
        response
    }
}

/// Whether an answer says that who we are was not proved.
fn is_refusal(pass: &Pass<'_>, status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN && pass.may_be_over()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_without_tls_unless_that_was_allowed() {
        let may_ask = |is_plain, uri: &str| {
            let client = Client {
                agent: Agent::new_with_defaults(),
                is_plain,
                pauses: Pauses::default(),
            };
            client.may_ask(&uri.parse().unwrap())
        };
        for is_plain in [false, true] {
            assert!(may_ask(is_plain, "https://h/token"));
            assert_eq!(may_ask(is_plain, "http://h/token"), is_plain);
            assert!(!may_ask(is_plain, "ftp://h/") && !may_ask(is_plain, "/token"));
        }
    }

    #[test]
    fn servers_differ_by_scheme_host_and_port() {
        let of = |uri: &str| origin(&uri.parse().unwrap());
        assert_eq!(of("https://H.org/a"), of("https://h.org:443/b?c"));
        for other in ["http://h.org/", "https://h.org:80/", "https://i.org/"] {
            assert_ne!(of("https://h.org/"), of(other));
        }
    }
}
