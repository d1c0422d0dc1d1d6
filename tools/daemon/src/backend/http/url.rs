// SPDX-License-Identifier: GPL-2.0
//! Where the blobs of a server are: a base URL, and the name of a blob behind it.

use anyhow::{Context, Result, ensure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use ureq::http::Uri;

/// What stands for itself in a name (RFC 3986, unreserved); every other byte is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A URL that ends in a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Checks the URL: with a host, without anything behind the path, and without a password, which
    /// the log would show.
    pub fn new(text: &str) -> Result<Self> {
        // First: the other errors show the text, and the log shows it later.
        ensure!(
            !text.contains('@'),
            "a URL with a user or a password is not supported (%40 is an @ in a path)"
        );
        let uri: Uri = text
            .parse()
            .with_context(|| format!("{text:?} is no URL"))?;
        let scheme = uri.scheme_str().unwrap_or_default();
        ensure!(
            matches!(scheme, "http" | "https") && uri.host().is_some_and(|host| !host.is_empty()),
            "{text:?} is no URL of a server: it begins with http://HOST or https://HOST"
        );
        ensure!(
            uri.query().is_none() && !text.contains('#'),
            "{text:?}: the names of blobs are put behind it, so it ends with a path"
        );
        let slash = if text.ends_with('/') { "" } else { "/" };
        Ok(Self(format!("{text}{slash}")))
    }

    /// Whether its server has to prove who it is.
    pub fn is_https(&self) -> bool {
        self.0
            .get(..6)
            .is_some_and(|it| it.eq_ignore_ascii_case("https:"))
    }

    /// The URL of a blob, or `None` for a name that might lead out of the base: the name comes out
    /// of an image, and some servers take more than a slash for one.
    pub fn of(&self, name: &[u8]) -> Option<String> {
        let is_name = !matches!(name, b"" | b"." | b"..")
            && !name
                .iter()
                .any(|&byte| matches!(byte, b'/' | b'\\') || byte.is_ascii_control());
        is_name.then(|| format!("{}{}", self.0, percent_encode(name, ENCODED)))
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_and_stay_below_the_base() {
        let base = BaseUrl::new("https://host:8443/images").unwrap();
        let of = |name: &[u8]| base.of(name);
        assert_eq!(
            of(b"app-1.2_x~").as_deref(),
            Some("https://host:8443/images/app-1.2_x~")
        );
        assert_eq!(
            of(b"a b?c#d%2f&;\xff").as_deref(),
            Some("https://host:8443/images/a%20b%3Fc%23d%252f%26%3B%FF")
        );
        for name in [
            &b""[..],
            b".",
            b"..",
            b"../x",
            b"/etc/passwd",
            b"a/b",
            b"..\\x",
            b"a\0b",
            b"a\r\nHost: b",
            b"\x7f",
        ] {
            assert_eq!(of(name), None, "{name:?}");
        }
        assert_eq!(BaseUrl::new("https://host:8443/images/").unwrap(), base);
    }

    #[test]
    fn a_base_that_is_none_is_refused() {
        for text in [
            "",
            "images",
            "/images",
            "ftp://host/",
            "file:///images",
            "http://",
            "http://user:secret@host/",
            "ftp://user:secret@host/",
            "http://user:se cret@host/secret",
            "http://user:secret#s@host/",
            "http://host/?a=b",
            "http://host/#a",
            "http://host/a b",
        ] {
            let error = BaseUrl::new(text).unwrap_err();
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
        assert!(BaseUrl::new("HTTPS://host").unwrap().is_https());
        assert!(!BaseUrl::new("http://[::1]:80/x").unwrap().is_https());
    }
}
