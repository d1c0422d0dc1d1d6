// SPDX-License-Identifier: GPL-2.0
//! What a registry says that it wants to see: `WWW-Authenticate` of a 401.

use ureq::http::HeaderMap;
use ureq::http::header::WWW_AUTHENTICATE;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// A user and a password.
    Basic,
    /// A token, which somebody gives.
    Bearer {
        /// The URL of who gives it.
        realm: String,
        /// For whom it is.
        service: Option<String>,
        /// For what it is.
        scope: Option<String>,
    },
}

impl Challenge {
    /// What an answer wants: a token rather than a password.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        let mut all: Vec<Self> = values.flat_map(challenges).collect();
        let bearer = all.iter().position(|it| *it != Self::Basic);
        match bearer {
            Some(at) => Some(all.swap_remove(at)),
            None => all.pop(),
        }
    }
}

/// The challenges of one header, which are separated by commas, as the parameters of each are.
fn challenges(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut scheme = String::new();
    let mut parameters: Vec<(String, String)> = Vec::new();
    let mut end = |scheme: &str, parameters: &mut Vec<(String, String)>| {
        let mut of = |name: &str| {
            let at = parameters.iter().position(|(it, _)| it == name)?;
            Some(parameters.swap_remove(at).1)
        };
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => found.push(Challenge::Basic),
            "bearer" => {
                if let Some(realm) = of("realm") {
                    let (service, scope) = (of("service"), of("scope"));
                    found.push(Challenge::Bearer {
                        realm,
                        service,
                        scope,
                    });
                }
            }
            _ => {}
        }
        parameters.clear();
    };
    for part in parts(text) {
        let (name, value) = part.split_once('=').unwrap_or((&part, ""));
        let name = name.trim();
        // `SCHEME NAME=VALUE` begins the next challenge, and so does a scheme alone.
        let name = match name.split_once(' ') {
            Some((next, name)) => {
                end(&scheme, &mut parameters);
                next.clone_into(&mut scheme);
                name.trim()
            }
            None if !part.contains('=') => {
                end(&scheme, &mut parameters);
                name.clone_into(&mut scheme);
                continue;
            }
            None => name,
        };
        parameters.push((name.to_ascii_lowercase(), unquoted(value.trim())));
    }
    end(&scheme, &mut parameters);
    found
}

/// What stands between commas that are not in quotes.
fn parts(text: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut is_quoted, mut is_escaped) = (false, false);
    for character in text.chars() {
        if character == ',' && !is_quoted {
            parts.push(std::mem::take(&mut part));
            continue;
        }
        if character == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = character == '\\' && is_quoted && !is_escaped;
        part.push(character);
    }
    parts.push(part);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let Some(inner) = inner else {
        return text.to_owned();
    };
    let mut plain = String::new();
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        let escaped = (character == '\\').then(|| rest.next()).flatten();
        plain.push(escaped.unwrap_or(character));
    }
    plain
}

#[cfg(test)]
mod tests {
    use ureq::http::HeaderValue;

    use super::*;

    fn of(values: &[&'static str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        Challenge::of(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_are_understood_as_registries_write_them() {
        let text = "Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x:pull,push\"";
        let scope = Some("repository:x:pull,push");
        assert_eq!(of(&[text]), bearer("https://a/t", Some("s"), scope));
        let text = "bearer  Realm = \"https://a/t\" , service=s";
        assert_eq!(of(&[text]), bearer("https://a/t", Some("s"), None));
        assert_eq!(of(&["Basic realm=\"a, b\""]), Some(Challenge::Basic));
        assert_eq!(of(&["Basic"]), Some(Challenge::Basic));
        let both = "Basic realm=\"x\", Bearer realm=\"https://a/t\"";
        assert_eq!(of(&[both]), bearer("https://a/t", None, None));
        let two = of(&["Basic realm=x", "Bearer realm=\"https://a/\\\"t\""]);
        assert_eq!(two, bearer("https://a/\"t", None, None));
    }

    #[test]
    fn others_are_none() {
        for text in [
            "",
            "Negotiate",
            "Digest realm=\"x\"",
            "Bearer service=\"s\"",
            ",,",
            "\"=",
        ] {
            assert_eq!(of(&[text]), None, "{text}");
        }
        assert_eq!(of(&[]), None);
    }
}
