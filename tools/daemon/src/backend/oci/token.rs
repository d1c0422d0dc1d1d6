// SPDX-License-Identifier: GPL-2.0
//! Getting a token from whom a registry names, for what credentials we have.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::http::header::ACCEPT;
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::auth::{Giver, Grant};
use super::challenge::Challenge;
use super::credentials::{Credential, Credentials, Stamp};
use super::deadline::Deadline;
use super::registry::{Client, origin};
use crate::backend::error::{Fault, SourceError};
use crate::backend::http::agent::no_answer;
use crate::backend::http::answer;

/// How long a token is good that does not say so.
const LIFETIME: u64 = 60;

/// How large the answer may be in bytes.
const LONGEST: u64 = 1 << 20;

/// Who gets tokens for one repository.
pub struct Tokens {
    /// By what requests are made.
    pub client: Arc<Client>,
    /// Who we are.
    pub credentials: Arc<Credentials>,
    /// The registry, as credentials name it.
    pub host: String,
    /// The repository.
    pub repository: String,
}

impl Giver for Tokens {
    fn stamp(&self) -> Option<Stamp> {
        self.credentials.stamp()
    }

    fn grant(
        &self,
        challenge: &Challenge,
        deadline: Deadline,
    ) -> Result<Option<Grant>, SourceError> {
        let credential = self.credentials.of(&self.host, deadline)?;
        let (realm, service, scope) = match challenge {
            Challenge::Basic => {
                return Ok(match credential {
                    Credential::Nothing(program) => {
                        // It may have some soon.
                        let message = format!("{program} has no credentials for {}", self.host);
                        return Err(SourceError::new(Fault::Passing, message));
                    }
                    Credential::Password(user, password) => Some(Grant {
                        header: basic(&user, &password),
                        lifetime: None,
                    }),
                    _ => None,
                });
            }
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => (realm, service, scope),
        };
        if let Credential::Token(token) = credential {
            return Ok(Some(bearer(&token, None)));
        }
        let own = || format!("repository:{}:pull", self.repository);
        let scope = scope.clone().unwrap_or_else(own);
        let (response, server) =
            self.ask(realm, service.as_deref(), &scope, &credential, deadline)?;
        let (token, seconds) = read(response, &server)?;
        tracing::debug!(
            "a token for {}/{}, good for {seconds} s",
            self.host,
            self.repository
        );
        Ok(Some(bearer(&token, Some(Duration::from_secs(seconds)))))
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn bearer(token: &str, lifetime: Option<Duration>) -> Grant {
    Grant {
        header: format!("Bearer {token}"),
        lifetime,
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl Tokens {
    /// Asks who gives tokens. With a credential only where nobody can listen.
    fn ask(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        credential: &Credential,
        deadline: Deadline,
    ) -> Result<(Response<Body>, String), SourceError> {
        let uri: Option<Uri> = realm.parse().ok();
        let Some(uri) = uri.filter(|uri| self.client.may_ask(uri)) else {
            let message = "the registry wants a token of somebody who is not at an https:// URL";
            return Err(SourceError::new(Fault::Useless, message));
        };
        let server = origin(&uri);
        self.client.pauses.check(&server)?;
        let time = Some(self.client.time_of_one(deadline)?);
        let service = service.map(|it| format!("service={}&", encoded(it)));
        let query = format!("{}scope={}", service.unwrap_or_default(), encoded(scope));
        let agent: &Agent = &self.client.agent;
        let asked = match credential {
            Credential::Identity(token) => {
                let body = format!(
                    "grant_type=refresh_token&client_id=cachefiles-ondemandd&{query}\
                     &refresh_token={}",
                    encoded(token)
                );
                let kind = "application/x-www-form-urlencoded";
                let request = agent.post(realm).config().timeout_global(time).build();
                let request = request.header("Content-Type", kind);
                request.header(ACCEPT, "application/json").send(body)
            }
            other => {
                let joint = if realm.contains('?') { '&' } else { '?' };
                let request = agent.get(format!("{realm}{joint}{query}"));
                let mut request = request.config().timeout_global(time).build();
                if let Credential::Password(user, password) = other {
                    request = request.header("Authorization", basic(user, password));
                }
                request.header(ACCEPT, "application/json").call()
            }
        };
        let response = asked.map_err(|error| {
            let error = no_answer(&error);
            SourceError::new(error.fault(), format!("no token: {server}: {error}"))
        })?;
        self.client.pauses.note_answer(&server, &response);
        Ok((response, server))
    }
}

/// The token in an answer, and for how many seconds it is good.
fn read(mut response: Response<Body>, server: &str) -> Result<(String, u64), SourceError> {
    let status = response.status();
    if status != StatusCode::OK {
        let error = answer::refusal(status, response.headers());
        let fault = match error.fault() {
            Fault::Passing | Fault::Denied => error.fault(),
            // So it says that it does not understand who asks.
            _ if status == StatusCode::BAD_REQUEST => Fault::Denied,
            _ => Fault::Useless,
        };
        let message = format!(
            "no token: {server}, who gives them for the registry, answers {status}{}",
            match fault {
                Fault::Denied => " (are the credentials in --docker-config right?)",
                _ => "",
            }
        );
        return Err(SourceError::new(fault, message).until(error.retry_after()));
    }
    let failed = |fault, what: &str| {
        let message = format!("no token: {server}: {what}");
        SourceError::new(fault, message)
    };
    let useless = |what| failed(Fault::Useless, what);
    let mut body = Vec::new();
    let reader = response.body_mut().as_reader();
    reader
        .take(LONGEST)
        .read_to_end(&mut body)
        .map_err(|error| failed(Fault::Passing, &format!("it was cut off: {error}")))?;
    // What stands in between may answer with a page of its own for a while.
    let said: Value = serde_json::from_slice(&body)
        .map_err(|_| failed(Fault::Passing, "the answer is no JSON"))?;
    let text = |key: &str| said.get(key).and_then(Value::as_str);
    let token = text("token").filter(|it| !it.is_empty());
    let token = token.or_else(|| text("access_token").filter(|it| !it.is_empty()));
    let token = token.ok_or_else(|| useless("there is none in the answer"))?;
    let is_token = |byte: u8| byte.is_ascii_graphic();
    if !token.bytes().all(is_token) {
        return Err(useless("what is in the answer cannot be one"));
    }
    let seconds = said.get("expires_in").and_then(Value::as_u64);
    let seconds = seconds.unwrap_or(LIFETIME).clamp(1, 86_400);
    Ok((token.to_owned(), seconds))
}
