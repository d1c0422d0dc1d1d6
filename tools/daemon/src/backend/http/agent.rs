// SPDX-License-Identifier: GPL-2.0
//! The client for all requests, and what comes in place of an answer.

use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ureq::http::Response;
use ureq::{Agent, Body, Proxy};

use super::tls;
pub use super::tls::Roots;
use crate::backend::error::{Fault, SourceError};

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

/// Makes a client; no server is asked yet. Whom it asks by https has to prove who it is.
pub fn agent(roots: Roots, options: &HttpOptions) -> Result<Agent> {
    let proxy = options.proxy.as_deref();
    ensure!(
        !proxy.is_some_and(|it| it.contains('@')),
        "a proxy with a user or a password is not supported: everybody would see it in the list \
         of processes"
    );
    let proxy = proxy.map(Proxy::new).transpose();
    let config = Agent::config_builder()
        .tls_config(tls::config(roots, options.ca_file.as_deref())?)
        .proxy(proxy.context("the proxy")?)
        .user_agent(concat!("cachefiles-ondemandd/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        // What a redirect leads to is another content, as far as anybody can tell: who knows more
        // follows it.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(options.timeout))
        .max_idle_age(IDLE)
        .max_idle_connections(options.connections)
        .max_idle_connections_per_host(options.connections)
        .build();
    Ok(config.new_agent())
}

/// No answer came, or none in HTTP.
pub fn no_answer(error: &ureq::Error) -> SourceError {
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
pub fn read_body(response: &mut Response<Body>, buffer: &mut [u8]) -> Result<(), SourceError> {
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
