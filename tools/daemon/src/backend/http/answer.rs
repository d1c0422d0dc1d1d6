// SPDX-License-Identifier: GPL-2.0
//! What a server answered, and whether it is what was asked for.
//!
//! A server, or what stands between it and us, may answer a range of something else: of a file that
//! was replaced, of a page that says that there was an error, of a compressed form. All of that is
//! told by the head of the answer, and refused there.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use ureq::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderName, IF_MATCH,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, LOCATION, RETRY_AFTER,
};
use ureq::http::{HeaderMap, StatusCode, Uri};

use crate::backend::error::{Fault, SourceError};

/// What an identity may not have in a value.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// What the server says a content is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// A strong ETag, with its quotes.
    Etag(String),
    /// The time of the last change, as the server writes it: for servers without ETags.
    Modified(String),
}

impl Mark {
    /// The better one of an answer's. A weak ETag says that two contents are alike, not that they
    /// are the same.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let strong = |etag: &&str| etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"');
        let etag = text(headers, ETAG).filter(strong);
        etag.map(|etag| Self::Etag(etag.to_owned())).or_else(|| {
            let modified = text(headers, LAST_MODIFIED).filter(|text| !text.is_empty());
            modified.map(|modified| Self::Modified(modified.to_owned()))
        })
    }

    /// The header by which the server is to refuse another content, and its value. Not `If-Range`:
    /// that has the whole of the other content sent.
    pub fn condition(&self) -> (HeaderName, &str) {
        match self {
            Self::Etag(etag) => (IF_MATCH, etag),
            Self::Modified(time) => (IF_UNMODIFIED_SINCE, time),
        }
    }

    /// Whether it says no more than the time of the last change, and perhaps the size: nginx, and
    /// Apache, make their ETags of these, in hexadecimal digits with a dash in between.
    pub fn is_of_time(&self, size: u64) -> bool {
        match self {
            Self::Etag(etag) => {
                let size = format!("{size:x}");
                let parts = etag.trim_matches('"').split('-');
                parts.clone().count() > 1 && parts.clone().any(|part| part == size)
            }
            Self::Modified(_) => true,
        }
    }

    /// Its part of an identity.
    pub fn identity(&self) -> String {
        match self {
            Self::Etag(etag) => format!("etag={}", utf8_percent_encode(etag, ENCODED)),
            Self::Modified(time) => format!("modified={}", utf8_percent_encode(time, ENCODED)),
        }
    }

    /// Whether an answer is of this content. Servers that know nothing of conditions are so found
    /// out, too.
    fn is_of(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Etag(etag) => text(headers, ETAG) == Some(etag),
            Self::Modified(time) => text(headers, LAST_MODIFIED) == Some(time),
        }
    }
}

/// A header that is there once, in ASCII.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    match values.next() {
        Some(_) => None,
        None => value.to_str().ok(),
    }
}

/// The range and the size in `Content-Range: bytes FIRST-LAST/SIZE`.
fn content_range(headers: &HeaderMap) -> Option<(Range<u64>, u64)> {
    let (range, size) = text(headers, CONTENT_RANGE)?
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let end = number(last)?.checked_add(1)?;
    let (first, size) = (number(first)?, number(size)?);
    // The kernel counts the bytes of a file as signed.
    let is_possible = first < end && end <= size && i64::try_from(size).is_ok();
    is_possible.then_some((first..end, size))
}

/// Digits alone: the standard library takes a sign as well.
fn number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Whether an answer says that there is nothing at all in the blob.
pub fn is_empty(status: StatusCode, headers: &HeaderMap) -> bool {
    match status {
        StatusCode::RANGE_NOT_SATISFIABLE => text(headers, CONTENT_RANGE) == Some("bytes */0"),
        // One without a mark may be any page that went wrong.
        StatusCode::OK => text(headers, CONTENT_LENGTH) == Some("0") && Mark::of(headers).is_some(),
        _ => false,
    }
}

/// The range that an answer has, and the size of its blob.
///
/// Fails for every answer that is not a part of a content as it is.
pub fn part(status: StatusCode, headers: &HeaderMap) -> Result<(Range<u64>, u64), SourceError> {
    if status != StatusCode::PARTIAL_CONTENT {
        return Err(refusal(status, headers));
    }
    let useless = |message: String| SourceError::new(Fault::Useless, message);
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    if let Some(encoding) = encoding_of(encodings) {
        return Err(useless(format!(
            "the server encodes the blob ({encoding}): switch that off for it"
        )));
    }
    let Some((range, size)) = content_range(headers) else {
        return Err(useless(format!(
            "the server does not say which part of the blob it sends (Content-Range: {:?})",
            headers.get(CONTENT_RANGE)
        )));
    };
    let length = headers.get(CONTENT_LENGTH);
    if length.is_some() && text(headers, CONTENT_LENGTH).and_then(number) != Some(length_of(&range))
    {
        return Err(useless(format!(
            "the server says that it sends bytes {range:?}, and {length:?} of them"
        )));
    }
    Ok((range, size))
}

fn encoding_of<'a>(
    mut encodings: impl Iterator<Item = &'a ureq::http::HeaderValue>,
) -> Option<String> {
    let other = encodings.find(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))?;
    Some(other.as_bytes().escape_ascii().to_string())
}

fn length_of(range: &Range<u64>) -> u64 {
    range.end - range.start
}

/// Checks that an answer is the range that was asked for, of the content that was asked for.
pub fn check(
    status: StatusCode,
    headers: &HeaderMap,
    asked: &Range<u64>,
    size: u64,
    mark: Option<&Mark>,
) -> Result<(), SourceError> {
    let (range, now) = part(status, headers)?;
    if mark.is_some_and(|mark| !mark.is_of(headers)) {
        let message = format!(
            "the blob is another one now: {:?} is not the server's ETag or Last-Modified any more",
            mark.map(Mark::condition).map(|(_, value)| value)
        );
        return Err(SourceError::new(Fault::Changed, message));
    }
    if now != size {
        let message = format!("the blob is another one now: of {now} bytes, and not of {size}");
        return Err(SourceError::new(Fault::Changed, message));
    }
    if range != *asked {
        let message = format!("the server sends bytes {range:?}, and was asked for {asked:?}");
        return Err(SourceError::new(Fault::Useless, message));
    }
    Ok(())
}

/// What an answer means that has no part of a blob.
pub fn refusal(status: StatusCode, headers: &HeaderMap) -> SourceError {
    let said = format!("the server answers {status}");
    let (fault, message) = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => (Fault::Absent, said),
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED => (Fault::Denied, said),
        StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => (
            Fault::Changed,
            format!("the blob is another one now ({said})"),
        ),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => (Fault::Passing, said),
        _ if status.is_server_error() => (Fault::Passing, said),
        _ if status.is_redirection() => {
            // The host alone: what follows may have a key in it.
            let to = text(headers, LOCATION).and_then(|to| to.parse::<Uri>().ok());
            let host = to.as_ref().and_then(Uri::host).unwrap_or("another place");
            let said = format!("{said} to {host}: redirects are not followed");
            (Fault::Useless, said)
        }
        StatusCode::OK => (
            Fault::Useless,
            "the server sends all of the blob in place of a part (200): it has no range requests"
                .into(),
        ),
        _ => (Fault::Useless, said),
    };
    let until = (fault == Fault::Passing).then(|| retry_after(headers, SystemTime::now()));
    SourceError::new(fault, message).until(until.flatten())
}

/// For how long the server does not want to be asked again, in seconds or until a date. That is by
/// the server's clock, if it says what time it is.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let said = text(headers, RETRY_AFTER)?;
    if let Some(seconds) = number(said) {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let now = text(headers, DATE).and_then(date).unwrap_or(now);
    // One that is over is no reason to wait.
    date(said)?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use ureq::http::HeaderValue;

    use super::*;

    #[test]
    fn servers_say_when_to_come_back_in_seconds_or_by_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let of = |retry: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(retry));
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_static(date));
            }
            retry_after(&headers, now).map(|after| after.as_secs())
        };
        assert_eq!(of("120", None), Some(120));
        assert_eq!(of("0", None), Some(0));
        assert_eq!(of("Thu, 01 Jan 1970 00:17:00 GMT", None), Some(20));
        let later = "Thu, 01 Jan 1970 02:00:30 GMT";
        let there = "Thu, 01 Jan 1970 02:00:00 GMT";
        assert_eq!(of(later, Some(there)), Some(30));
        assert_eq!(of(later, Some("no date")), Some(6230));
        assert_eq!(of(there, Some(later)), None);
        for wrong in ["", "-1", "+1", "1.5", "soon", "99999999999999999999999"] {
            assert_eq!(of(wrong, None), None, "{wrong}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
