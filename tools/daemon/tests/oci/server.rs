// SPDX-License-Identifier: GPL-2.0
//! A registry on the loopback device, who gives its tokens, and a store that it sends clients on
//! to: one server each, which note what they are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest as _, Sha256};

/// The repository of all images here.
pub const REPOSITORY: &str = "team/app";

/// What nobody may find in a log or in an error.
pub const PASSWORD: &str = "pass:w0rd-SECRET";
pub const TOKEN: &str = "t0ken-SECRET";
pub const SIGNATURE: &str = "s1gnature-SECRET";

/// What the registry wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wants {
    /// Nothing.
    #[default]
    Nothing,
    /// A token that was given and is good.
    Token,
    /// What it has never given: it refuses every token.
    Impossible,
    /// A user and a password.
    Password,
}

/// What a blob is answered with in place of a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Blobs {
    #[default]
    Part,
    /// 200, and all of it.
    Whole,
    /// A status, and when to come back.
    Busy(u16, &'static str),
    /// Another byte in the middle.
    Corrupt,
    /// The connection is closed, without an answer or in the middle of it.
    Closed,
    Cut,
    /// The connection stays, and nothing comes.
    Nothing,
    /// Another place: its URL, up to the digest.
    Elsewhere(String),
}

/// What comes in place of an answer to a request for a blob that is let in by a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing, for as long as the client waits.
    Nothing,
    /// 500.
    Failure,
}

#[derive(Default)]
pub struct State {
    pub manifests: BTreeMap<String, Vec<u8>>,
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub wants: Wants,
    pub answers: Blobs,
    /// Tokens that are let in.
    pub good: BTreeSet<String>,
    /// Who gets tokens; anybody if it is none. And what identity is exchanged for them.
    pub user: Option<(String, String)>,
    /// What tokens are given with.
    pub expires_in: Option<u64>,
    /// The status with which tokens are not given.
    pub no_tokens: Option<u16>,
    pub given: usize,
    /// Who gives tokens, if that is not the registry itself.
    pub realm: Option<String>,
    pub after_token: Option<After>,
    /// Whether whoever is not let in gets a 403, and no word of what is wanted.
    pub forbids: bool,
    /// Requests: method, path with its query, `Authorization`, body.
    pub seen: Vec<Seen>,
    /// How many requests for blobs are to be there at a time before any is answered.
    pub gather: usize,
    gathered: usize,
}

#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub authorization: String,
    pub range: String,
    pub body: String,
}

#[derive(Clone)]
pub struct Server {
    pub port: u16,
    /// By TLS, which proves that it is `localhost`.
    is_tls: bool,
    shared: Arc<(Mutex<State>, Condvar)>,
}

pub fn digest_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is not to be found anywhere: secrets, as they are and as they are sent.
pub fn secrets() -> [String; 6] {
    let encoded = STANDARD.encode(format!("me:{PASSWORD}"));
    let whole = |text: &str| text.to_owned();
    [
        whole(PASSWORD),
        whole(TOKEN),
        whole(SIGNATURE),
        encoded,
        "SECRET".into(),
        "pass%3Aw0rd".into(),
    ]
}

/// See the tests of web servers.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/http")
        .join(name)
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// The same behind TLS.
    pub fn start_tls() -> Self {
        let certificate = CertificateDer::from_pem_file(fixture("certificate.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(fixture("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::start_with(Some(Arc::new(config)))
    }

    fn start_with(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            is_tls: tls.is_some(),
            shared: Arc::default(),
        };
        let own = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (own, tls) = (own.clone(), tls.clone());
                std::thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    // A client that does not believe it hangs up.
                    let _ = match tls {
                        None => own.converse(stream),
                        Some(config) => {
                            let connection = ServerConnection::new(config).unwrap();
                            own.converse(StreamOwned::new(connection, stream))
                        }
                    };
                });
            }
        });
        server
    }

    pub fn host(&self) -> String {
        let name = if self.is_tls {
            "localhost"
        } else {
            "127.0.0.1"
        };
        format!("{name}:{}", self.port)
    }

    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.host())
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    /// Puts an image there whose layers are these, and gives the digests of these.
    pub fn put(&self, tag: &str, layers: &[&[u8]]) -> Vec<String> {
        let mut state = self.state();
        let mut digests = Vec::new();
        let mut described = Vec::new();
        for layer in layers {
            let digest = digest_of(layer);
            described.push(format!(
                r#"{{"mediaType":"application/vnd.erofs.layer.v1","digest":"sha256:{digest}","size":{}}}"#,
                layer.len()
            ));
            state.blobs.insert(digest.clone(), layer.to_vec());
            digests.push(digest);
        }
        let manifest = format!(
            r#"{{"schemaVersion":2,"layers":[{}]}}"#,
            described.join(",")
        );
        let by_digest = format!("sha256:{}", digest_of(manifest.as_bytes()));
        state.manifests.insert(by_digest, manifest.clone().into());
        state.manifests.insert(tag.to_owned(), manifest.into());
        digests
    }

    /// Takes back what was given: tokens are over.
    pub fn revoke(&self) {
        self.state().good.clear();
    }

    pub fn seen(&self, part: &str) -> Vec<Seen> {
        let seen = self.state().seen.clone();
        seen.into_iter()
            .filter(|it| it.path.contains(part))
            .collect()
    }

    fn converse(&self, stream: impl io::Read + io::Write) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut seen = Seen {
                path,
                authorization: String::new(),
                range: String::new(),
                body: String::new(),
            };
            let mut length = 0;
            loop {
                line.clear();
                reader.read_line(&mut line)?;
                let Some((name, value)) = line.trim_end().split_once(": ") else {
                    break;
                };
                match name.to_ascii_lowercase().as_str() {
                    "authorization" => value.clone_into(&mut seen.authorization),
                    "range" => value.clone_into(&mut seen.range),
                    "content-length" => length = value.parse().unwrap(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            io::Read::read_exact(&mut reader, &mut body)?;
            seen.body = String::from_utf8(body).unwrap();
            self.state().seen.push(seen.clone());
            let answer = self.answer(&seen);
            reader.get_mut().write_all(&answer)?;
            reader.get_mut().flush()?;
            if matches!(self.state().answers, Blobs::Closed | Blobs::Cut) {
                return Ok(());
            }
        }
    }

    /// Waits until as many are here as are to be.
    fn gather(&self) {
        let (mutex, condition) = &*self.shared;
        let mut state = mutex.lock().unwrap();
        if state.gather == 0 {
            return;
        }
        state.gathered += 1;
        if state.gathered == state.gather {
            (state.gather, state.gathered) = (0, 0);
            condition.notify_all();
            return;
        }
        let patience = Duration::from_secs(20);
        let waited = condition.wait_timeout_while(state, patience, |state| state.gather > 0);
        assert!(!waited.unwrap().1.timed_out(), "they did not all come");
    }

    fn answer(&self, seen: &Seen) -> Vec<u8> {
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        if path == "/token" {
            return self.token(seen, query);
        }
        if let Some(rest) = path.strip_prefix("/store/") {
            assert!(query.contains(SIGNATURE), "a store without its key");
            return self.blob(rest, &seen.range);
        }
        let begin = format!("/v2/{REPOSITORY}/");
        let Some(rest) = path.strip_prefix(&begin) else {
            return message("404 Not Found", "", b"");
        };
        if rest.starts_with("blobs/") {
            self.gather();
        }
        if !self.lets_in(&seen.authorization) {
            if self.state().forbids && !seen.authorization.is_empty() {
                return message("403 Forbidden", "", b"");
            }
            let realm = self.state().realm.clone();
            let realm = realm.unwrap_or_else(|| format!("{}/token", self.url()));
            let challenge = match self.state().wants {
                Wants::Password => "Basic realm=\"here\"".to_owned(),
                _ => format!("Bearer realm=\"{realm}\",service=\"the registry\""),
            };
            let header = format!("WWW-Authenticate: {challenge}\r\n");
            return message("401 Unauthorized", &header, b"{\"errors\":[]}");
        }
        let after = self
            .state()
            .after_token
            .filter(|_| !seen.authorization.is_empty());
        match after {
            Some(After::Nothing) => std::thread::sleep(Duration::from_secs(60)),
            Some(After::Failure) => return message("500 Failure", "", b""),
            None => {}
        }
        match rest.split_once('/') {
            Some(("manifests", which)) => match self.state().manifests.get(which) {
                Some(manifest) => message("200 OK", "", manifest),
                None => message("404 Not Found", "", b""),
            },
            Some(("blobs", digest)) => {
                self.blob(digest.strip_prefix("sha256:").unwrap(), &seen.range)
            }
            _ => message("404 Not Found", "", b""),
        }
    }

    fn lets_in(&self, authorization: &str) -> bool {
        let state = self.state();
        let (user, password) = match &state.user {
            Some((user, password)) => (user.as_str(), password.as_str()),
            None => ("me", PASSWORD),
        };
        let password = STANDARD.encode(format!("{user}:{password}"));
        match state.wants {
            Wants::Nothing => true,
            Wants::Impossible => false,
            Wants::Password => authorization == format!("Basic {password}"),
            Wants::Token => authorization
                .strip_prefix("Bearer ")
                .is_some_and(|token| state.good.contains(token)),
        }
    }

    fn token(&self, seen: &Seen, query: &str) -> Vec<u8> {
        let mut state = self.state();
        if let Some(status) = state.no_tokens {
            return message(&format!("{status} No"), "", b"");
        }
        let asked = format!("{query}&{}", seen.body);
        assert!(
            asked.contains("scope=repository%3Ateam%2Fapp%3Apull"),
            "{asked}"
        );
        assert!(asked.contains("service=the%20registry"), "{asked}");
        if let Some((user, password)) = &state.user {
            let basic = STANDARD.encode(format!("{user}:{password}"));
            let is_identity = asked.contains("grant_type=refresh_token")
                && asked.contains(&format!("refresh_token={}%2Did", TOKEN.replace('-', "%2D")));
            if seen.authorization != format!("Basic {basic}") && !is_identity {
                return message("401 Unauthorized", "", b"");
            }
        }
        state.given += 1;
        let token = format!("{TOKEN}{}", state.given);
        state.good.insert(token.clone());
        let expires = state.expires_in.map(|it| format!(",\"expires_in\":{it}"));
        let body = format!("{{\"token\":\"{token}\"{}}}", expires.unwrap_or_default());
        message("200 OK", "", body.as_bytes())
    }

    fn blob(&self, digest: &str, range: &str) -> Vec<u8> {
        while self.state().answers == Blobs::Nothing {
            std::thread::sleep(Duration::from_millis(20));
        }
        let state = self.state();
        let Some(blob) = state.blobs.get(digest) else {
            return message("404 Not Found", "", b"");
        };
        let mut blob = blob.clone();
        match &state.answers {
            Blobs::Part | Blobs::Cut | Blobs::Nothing => {}
            Blobs::Closed => return Vec::new(),
            Blobs::Whole => return message("200 OK", "", &blob),
            Blobs::Busy(status, until) => {
                let until = format!("Retry-After: {until}\r\n");
                return message(&format!("{status} Busy"), &until, b"");
            }
            Blobs::Corrupt => {
                let middle = blob.len() / 2;
                blob[middle] ^= 1;
            }
            Blobs::Elsewhere(url) => {
                let location = format!("Location: {url}{digest}?key={SIGNATURE}\r\n");
                return message("307 Temporary Redirect", &location, b"");
            }
        }
        let size = blob.len();
        let part = range
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap();
        let (first, last): (usize, usize) = (part.0.parse().unwrap(), part.1.parse().unwrap());
        let header = format!("Content-Range: bytes {first}-{last}/{size}\r\n");
        let mut answer = message("206 Partial Content", &header, &blob[first..=last]);
        if state.answers == Blobs::Cut {
            answer.truncate(answer.len() - (last - first) / 2 - 1);
        }
        answer
    }
}

fn message(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}
