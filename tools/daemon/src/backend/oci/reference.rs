// SPDX-License-Identifier: GPL-2.0
//! The name of an image: registry, repository, and a tag or a digest.

use std::fmt;
use std::net::Ipv6Addr;

/// How a manifest is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// By a name that may be given to another one later.
    Tag(String),
    /// By its digest (SHA-256, hexadecimal).
    Digest(String),
}

/// `HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]`. A digest takes the place of a tag, and without
/// either it is the tag `latest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    host: String,
    repository: String,
    which: Which,
}

/// Said in place of a text with an `@` in it that does not stand before a digest: what does may be
/// a user and a password, which nobody is to read in a log.
pub const DOUBTFUL: &str = "an @ may stand before sha256: and 64 digits only: a user or a password \
                            belongs into docker's config.json (--docker-config)";

impl Reference {
    /// Understands a reference, or says what is wrong with it; never with a password that is there
    /// by mistake.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, digest) = match text.rsplit_once('@') {
            Some((name, digest)) => (name, Some(digest_of(digest).ok_or(DOUBTFUL)?)),
            None => (text, None),
        };
        if name.contains('@') {
            return Err(DOUBTFUL.into());
        }
        if text.contains("://") {
            return Err(format!("{text}: without http:// or https://"));
        }
        let host = |host: &&str| host.contains(['.', ':']) || *host == "localhost";
        let Some((host, path)) = name.split_once('/').filter(|(it, _)| host(it)) else {
            return Err(format!(
                "{text}: the host of a registry is wanted in front, as in docker.io/library/NAME"
            ));
        };
        if !is_authority(host) {
            return Err(format!("{text}: {host} is no host"));
        }
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, tag),
            None => (path, "latest"),
        };
        if !repository.split('/').all(is_component) {
            return Err(format!("{text}: {repository} is no name of a repository"));
        }
        if !is_tag(tag) {
            return Err(format!("{text}: {tag} is no tag"));
        }
        Ok(Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            which: digest.map_or_else(|| Which::Tag(tag.to_owned()), Which::Digest),
        })
    }

    /// The registry, as it is named: with its port, if that is given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where the registry answers: Docker's has another name for that.
    pub fn authority(&self) -> &str {
        match &*self.host {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        }
    }

    /// The repository.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Whether it may be another image later.
    pub fn is_tag(&self) -> bool {
        matches!(self.which, Which::Tag(_))
    }

    /// Which manifest of the repository it is.
    pub fn which(&self) -> &Which {
        &self.which
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        match &self.which {
            Which::Tag(tag) => write!(f, ":{tag}"),
            Which::Digest(digest) => write!(f, "@sha256:{digest}"),
        }
    }
}

/// The hexadecimal digits of a digest that is written `sha256:DIGITS`.
pub fn digest_of(text: &str) -> Option<String> {
    let digits = text.strip_prefix("sha256:")?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (digits.len() == 64 && digits.bytes().all(is_digit)).then(|| digits.to_owned())
}

/// Whether it is `HOST` or `HOST:PORT`, where `HOST` is a name, an address, or one of IPv6 in
/// brackets.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    // The standard library takes a sign as well.
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    let in_brackets = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_host = match in_brackets {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(is_name),
    };
    is_host && port.is_none_or(is_port)
}

/// One part of a repository's name: small letters and digits, with one of `._-` or more between
/// them. So none is `..`, and none has anything that means something in a URL.
fn is_component(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.iter().all(|end| end.is_some_and(is_letter))
        && text
            .bytes()
            .all(|byte| is_letter(byte) || b"._-".contains(&byte))
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(is_word)
        && text
            .bytes()
            .all(|byte| is_word(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_a_host_a_repository_and_a_tag_or_a_digest() {
        let digest = "a".repeat(64);
        let of = |text: &str| {
            let it = Reference::parse(text).unwrap();
            (it.host.clone(), it.repository.clone(), it.to_string())
        };
        let triple = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            of("registry.example.org/team/app:1.0"),
            triple(
                "registry.example.org",
                "team/app",
                "registry.example.org/team/app:1.0"
            )
        );
        assert_eq!(of("localhost/app").2, "localhost/app:latest");
        assert_eq!(of("[::1]:5000/app").0, "[::1]:5000");
        assert_eq!(of("[::1]/app").0, "[::1]");
        assert_eq!(of("h:65535/app").0, "h:65535");
        let by_digest = format!("h:5000/app@sha256:{digest}");
        assert_eq!(of(&by_digest), triple("h:5000", "app", &by_digest));
        assert_eq!(of(&format!("h:5000/app:1@sha256:{digest}")).2, by_digest);
        let docker = Reference::parse("docker.io/library/debian").unwrap();
        assert_eq!(docker.authority(), "registry-1.docker.io");
        assert_eq!(docker.host(), "docker.io");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let digest = "a".repeat(63);
        for text in [
            "",
            "app",
            "team/app",
            "https://h.org/app",
            "h.org/",
            "h.org//app",
            "h.org/../app",
            "h.org/a/..",
            "h.org/App",
            "h.org/app:",
            "h.org/app:a b",
            "h.org/app:-x",
            "h.org/a?b",
            "h.org/a%2fb",
            "h.org/a#b",
            "user@h.org/app",
            "u:p@h.org/app",
            "h.o rg/app",
            "h:/app",
            ":5000/app",
            "h:0/app",
            "h:5000x/app",
            "h:+5000/app",
            "h:99999/app",
            "h:1:2/app",
            "[::1/app",
            "[::1]5000/app",
            "[::1]:/app",
            "[h.org]/app",
            &format!("h.org/app@sha256:{digest}"),
            &format!("h.org/app@sha256:{digest}A"),
            &format!("h.org/app@sha512:{digest}a"),
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_that_is_there_by_mistake_is_not_repeated() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for text in [
            "me:secret@h.org/app",
            "https://me:secret@h.org/app",
            "me:secret@x@h.org/app",
            "me:secret@h.org/app:1",
            &format!("me:secret@h.org/app@{digest}"),
            &format!("me:secret@h.org/app@{digest}0"),
            &format!("https://me:secret@h.org/app@{digest}"),
        ] {
            let said = Reference::parse(text).unwrap_err();
            assert!(
                !said.contains("secret") && said.contains("--docker-config"),
                "{said}"
            );
        }
    }
}
