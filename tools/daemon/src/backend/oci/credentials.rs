// SPDX-License-Identifier: GPL-2.0
//! Who we are to a registry, by docker's `config.json`.
//!
//! The file is read, and a helper asked, each time that a token is wanted, so that what changes
//! there counts at once. Nothing of it is ever put into an error or the log.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::deadline::Deadline;
use super::helper;
use crate::backend::error::{Fault, SourceError};

/// What proves who we are. Not to be printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing: nobody in particular.
    Anonymous,
    /// Nothing: the helper that was asked has none.
    Nothing(String),
    /// A user and a password.
    Password(String, String),
    /// What is exchanged for tokens.
    Identity(String),
    /// A token, as it is.
    Token(String),
}

/// Which state of the file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp(u64, u64, i64, i64);

/// Where credentials come from.
#[derive(Debug)]
pub struct Credentials {
    config: Option<PathBuf>,
}

impl Credentials {
    /// Credentials of that `config.json`; without one there are none.
    pub fn new(config: Option<PathBuf>) -> Self {
        Self { config }
    }

    /// Changes when the file does.
    pub fn stamp(&self) -> Option<Stamp> {
        let about = fs::metadata(self.config.as_deref()?).ok()?;
        Some(Stamp(
            about.ino(),
            about.size(),
            about.mtime(),
            about.mtime_nsec(),
        ))
    }

    /// What there is for a registry.
    pub fn of(&self, host: &str, deadline: Deadline) -> Result<Credential, SourceError> {
        let Some(path) = &self.config else {
            return Ok(Credential::Anonymous);
        };
        let config = read(path)?;
        let unreadable = |what: String| unreadable(path, &what);
        let of = |table: &str| of_host(config.get(table)?, host);
        if let Some((server, helper)) = of("credHelpers") {
            let helper = helper.as_str().unwrap_or_default();
            return helper::get(helper, &server, deadline);
        }
        if let Some((_, auth)) = of("auths") {
            let found = of_auth(auth).map_err(|what| unreadable(format!("{what} of {host}")))?;
            if found != Credential::Anonymous {
                return Ok(found);
            }
        }
        match config.get("credsStore").and_then(Value::as_str) {
            Some(helper) if !helper.is_empty() => helper::get(helper, server_of(host), deadline),
            _ => Ok(Credential::Anonymous),
        }
    }
}

/// It may be in the middle of being written.
fn unreadable(path: &Path, what: &str) -> SourceError {
    let message = format!("cannot read the credentials {}: {what}", path.display());
    SourceError::new(Fault::Passing, message)
}

fn read(path: &Path) -> Result<Value, SourceError> {
    let text = fs::read(path).map_err(|error| unreadable(path, &error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| {
        // Where, and nothing of what is there.
        let (line, column) = (error.line(), error.column());
        unreadable(path, &format!("no JSON at line {line}, column {column}"))
    })
}

/// The helpers that a file names.
pub fn helpers(path: &Path) -> Result<Vec<String>, SourceError> {
    let config = read(path)?;
    let table = config.get("credHelpers").and_then(Value::as_object);
    let named = table.into_iter().flat_map(|table| table.values());
    let all = named.chain(config.get("credsStore"));
    let names = all.filter_map(Value::as_str).filter(|it| !it.is_empty());
    Ok(names.map(str::to_owned).collect())
}

/// The name that docker's own registry has in the file.
const DOCKER: &str = "https://index.docker.io/v1/";

fn server_of(host: &str) -> &str {
    match host {
        "docker.io" | "index.docker.io" => DOCKER,
        host => host,
    }
}

/// What a table has for a host, under which name: alone, or as a URL.
fn of_host<'a>(table: &'a Value, host: &str) -> Option<(String, &'a Value)> {
    let table = table.as_object()?;
    let server = server_of(host);
    if let Some(value) = table.get(server) {
        return Some((server.to_owned(), value));
    }
    let host_of = |name: &str| {
        let name = name.split_once("://").map_or(name, |(_, rest)| rest);
        name.split('/').next().unwrap_or_default().to_owned()
    };
    let found = table.iter().find(|(name, _)| host_of(name) == host);
    found.map(|(name, value)| (name.clone(), value))
}

fn of_auth(auth: &Value) -> Result<Credential, &'static str> {
    let text = |key| {
        let text = auth.get(key).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if let Some(token) = text("identitytoken") {
        return Ok(Credential::Identity(token));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Credential::Token(token));
    }
    if let (Some(user), Some(password)) = (text("username"), text("password")) {
        return Ok(Credential::Password(user, password));
    }
    let Some(both) = text("auth") else {
        return Ok(Credential::Anonymous);
    };
    let decoded = STANDARD.decode(both.trim()).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|it| it.split_once(':'));
    // Some writers end the password with a NUL.
    pair.map(|(user, password)| {
        Credential::Password(user.to_owned(), password.trim_end_matches('\0').to_owned())
    })
    .ok_or("something is wrong with `auth`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Deadline {
        Deadline::after(std::time::Duration::from_secs(60))
    }

    fn of(text: &str, host: &str) -> Result<Credential, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let credentials = Credentials::new(Some(file.path().to_owned()));
        credentials
            .of(host, soon())
            .map_err(|error| error.to_string())
    }

    fn is_password(text: &str, host: &str, user: &str, password: &str) -> bool {
        of(text, host) == Ok(Credential::Password(user.into(), password.into()))
    }

    #[test]
    fn each_way_to_write_a_credential_is_understood() {
        let encoded = STANDARD.encode("me:se:cret");
        for name in [
            "h:5000",
            "https://h:5000",
            "http://h:5000/v1/",
            "h:5000/v2/",
        ] {
            let text = format!(r#"{{"auths":{{"{name}":{{"auth":"{encoded}"}}}}}}"#);
            assert!(is_password(&text, "h:5000", "me", "se:cret"), "{name}");
            assert!(of(&text, "h") == Ok(Credential::Anonymous), "{name}");
        }
        let text = r#"{"auths":{"h":{"username":"u","password":"p"}}}"#;
        assert!(is_password(text, "h", "u", "p"));
        let text = r#"{"auths":{"h":{"auth":"Og==","identitytoken":"i"}}}"#;
        assert!(of(text, "h") == Ok(Credential::Identity("i".into())));
        let text = r#"{"auths":{"h":{"registrytoken":"r"}}}"#;
        assert!(of(text, "h") == Ok(Credential::Token("r".into())));
        let text = format!(r#"{{"auths":{{"{DOCKER}":{{"auth":"{encoded}"}}}}}}"#);
        assert!(is_password(&text, "docker.io", "me", "se:cret"));
        assert!(of("{}", "h") == Ok(Credential::Anonymous));
        assert!(of(r#"{"auths":{"h":{}}}"#, "h") == Ok(Credential::Anonymous));
        assert!(Credentials::new(None).of("h", soon()).ok() == Some(Credential::Anonymous));
    }

    #[test]
    fn what_is_wrong_with_the_file_is_said_without_what_is_in_it() {
        for text in [
            r#"{"auths":{"h":{"auth":"c2VjcmV0"}}}"#,
            r#"{"auths":{"h":{"auth":"secret!"}}}"#,
            r#"{"auths":{"h":{"auth":"secret"#,
            r#"secret"#,
        ] {
            let Err(error) = of(text, "h") else {
                panic!("{text}");
            };
            assert!(
                error.contains("credentials") && !error.contains("secret"),
                "{error}"
            );
            assert!(!error.contains("c2V"), "{error}");
        }
        let absent = Credentials::new(Some("/absent/config.json".into()));
        assert!(absent.of("h", soon()).is_err() && absent.stamp().is_none());
    }
}
