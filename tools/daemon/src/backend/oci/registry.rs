// SPDX-License-Identifier: GPL-2.0
//! Requests to a registry, and to the stores that it sends us on to.
//!
//! What proves who we are goes to the registry and to who gives its tokens, and never along with a
//! redirect to another server. URLs of such stores have a key of their own in them, so that they
//! are no more shown than tokens are.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, LOCATION, RANGE};
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::auth::{Auth, Pass};
use super::challenge::Challenge;
use super::deadline::Deadline;
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
    /// How long one request may take.
    pub timeout: Duration,
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
    fn known(&self) -> MutexGuard<'_, Option<(Uri, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the place, if there is one that is still good.
    pub fn get(&self) -> Option<Uri> {
        let known = self.known();
        let (uri, until) = known.as_ref()?;
        (*until > Instant::now()).then(|| uri.clone())
    }

    /// Notes a place from which a part has come that was what it had to be.
    pub fn set(&self, uri: Uri) {
        *self.known() = Some((uri, Instant::now() + STORE_FOR));
    }

    /// Forgets the place: the registry is asked next time.
    pub fn forget(&self) {
        *self.known() = None;
    }
}

/// What was answered, and by whom.
pub struct Answer {
    /// The answer.
    pub response: Response<Body>,
    /// Where it came from in the end.
    pub uri: Uri,
    /// Whether that is not the registry.
    pub is_away: bool,
}

fn useless(message: impl Into<String>) -> SourceError {
    SourceError::new(Fault::Useless, message)
}

/// Scheme and server: who gets what is sent to a URL.
pub fn origin(uri: &Uri) -> String {
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
        deadline: Deadline,
    ) -> Result<Response<Body>, SourceError> {
        let server = origin(uri);
        self.pauses.check(&server)?;
        let mut request = self
            .agent
            .get(uri)
            .config()
            .timeout_global(Some(self.time_of_one(deadline)?))
            .build()
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
        let response = request
            .call()
            .map_err(|error| no_answer(&error).of(&server))?;
        self.pauses.note_answer(&server, &response);
        Ok(response)
    }

    /// How long the next request may take.
    pub fn time_of_one(&self, deadline: Deadline) -> Result<Duration, SourceError> {
        Ok(deadline.left()?.min(self.timeout))
    }

    /// Until when a read has to be over that begins now. A store that does not answer is not all of
    /// it: the registry may know a better one.
    pub fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout.saturating_mul(2))
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
    pub fn manifest(&self, which: &str, accept: &str) -> Result<Answer, SourceError> {
        let path = format!("manifests/{which}");
        self.get(&path, accept, None, self.client.deadline())
    }

    /// Until when a read has to be over that begins now.
    pub fn deadline(&self) -> Deadline {
        self.client.deadline()
    }

    /// Asks for a range of a blob.
    pub fn blob(
        &self,
        digest: &str,
        range: &Range<u64>,
        deadline: Deadline,
    ) -> Result<Answer, SourceError> {
        let path = format!("blobs/sha256:{digest}");
        self.get(&path, "*/*", Some(range), deadline)
    }

    /// Asks a store for a range of the blob that it has.
    pub fn of_store(
        &self,
        uri: Uri,
        range: &Range<u64>,
        deadline: Deadline,
    ) -> Result<Answer, SourceError> {
        let response = self.client.send(&uri, "*/*", Some(range), None, deadline)?;
        Ok(Answer {
            response,
            uri,
            is_away: true,
        })
    }

    /// Asks the registry for something, and goes where it leads.
    fn get(
        &self,
        path: &str,
        accept: &str,
        range: Option<&Range<u64>>,
        deadline: Deadline,
    ) -> Result<Answer, SourceError> {
        let uri = format!("{}/{path}", self.base);
        let mut uri: Uri = uri.parse().map_err(|_| useless("this is no URL"))?;
        let registry = origin(&uri);
        let mut response = self.get_let_in(&uri, accept, range, deadline)?;
        let mut is_away = false;
        for _ in 0..REDIRECTS {
            if !response.status().is_redirection() {
                break;
            }
            uri = self.client.target(&uri, &response)?;
            // Who has been elsewhere does not come back as who he was.
            is_away |= origin(&uri) != registry;
            response = match is_away {
                false => self.get_let_in(&uri, accept, range, deadline)?,
                true => self.client.send(&uri, accept, range, None, deadline)?,
            };
        }
        match response.status().is_redirection() {
            true => Err(useless("the registry sends us on and on")),
            false => Ok(Answer {
                response,
                uri,
                is_away,
            }),
        }
    }

    /// Asks the registry itself, and proves who we are if it wants to know.
    fn get_let_in(
        &self,
        uri: &Uri,
        accept: &str,
        range: Option<&Range<u64>>,
        deadline: Deadline,
    ) -> Result<Response<Body>, SourceError> {
        let pass = self.auth.enter(deadline)?;
        let (response, pass) = self.send(pass, uri, accept, range)?;
        if !is_refusal(&pass, response.status()) {
            return Ok(self.end(uri, response, pass));
        }
        let challenge = Challenge::of(response.headers());
        let pass = self.auth.again(pass, challenge)?;
        let (response, pass) = self.send(pass, uri, accept, range)?;
        match is_refusal(&pass, response.status()) {
            true => Err(self.auth.refuse(pass)),
            false => Ok(self.end(uri, response, pass)),
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
        let (header, deadline) = (pass.header(), pass.deadline());
        match self.client.send(uri, accept, range, header, deadline) {
            Ok(response) => Ok((response, pass)),
            Err(error) => {
                self.auth.unanswered(pass, &error);
                Err(error)
            }
        }
    }

    /// Notes how a request has ended that was not refused as one of somebody unknown.
    fn end(&self, uri: &Uri, response: Response<Body>, pass: Pass<'_>) -> Response<Body> {
        let status = response.status();
        // One that is busy has not looked who asks; and one that forbids it to somebody whom it has
        // not asked who that is has not let anybody in.
        let is_forbidden = status == StatusCode::FORBIDDEN && pass.header().is_none();
        if status.is_server_error() || is_pausing(status) || is_forbidden {
            let error = answer::refusal(status, response.headers()).of(origin(uri));
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
                timeout: Duration::from_secs(1),
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
