// SPDX-License-Identifier: GPL-2.0
//! Blobs of a web server, and everything that such a server may do wrong: each an error, and never
//! other bytes.

mod tls;

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use cachefiles_daemon::backend::{
    Backend, BaseUrl, Blob, Fault, Http, HttpOptions, Verified, Verify, chunks, retry_after,
    source_error,
};
use cachefiles_harness::web::{Manner, Web};
use cachefiles_protocol::Errno;

/// How long a request may take where that is what is looked at.
const SHORT: Duration = Duration::from_millis(300);

fn options() -> HttpOptions {
    HttpOptions {
        ca_file: None,
        proxy: None,
        timeout: Duration::from_secs(60),
        connections: 4,
    }
}

fn client(url: &str) -> Http {
    Http::new(BaseUrl::new(url).unwrap(), &options()).unwrap()
}

fn content(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| ((at + seed) % 251) as u8 + 1)
        .collect()
}

/// A server with a blob, which is open.
fn opened(manner: Manner) -> (Web, Vec<u8>, Box<dyn Blob>) {
    let (web, bytes) = (Web::start().unwrap(), content(1, 100_000));
    web.put("blob", &bytes);
    web.behave(manner);
    let blob = client(&web.url()).open(b"v", b"blob").unwrap();
    (web, bytes, blob)
}

/// Reads a range of the blob, or says what kind of failure it was. What was not read is not looked
/// at by anybody: the caller writes nothing after an error.
fn read(blob: &dyn Blob, offset: u64, length: usize) -> Result<Vec<u8>, (Fault, String)> {
    let mut buffer = vec![0xee; length];
    match blob.read_exact_at(&mut buffer, offset) {
        Ok(()) => Ok(buffer),
        Err(error) => Err(failure(&error)),
    }
}

fn failure(error: &io::Error) -> (Fault, String) {
    let error = source_error(error).expect("an error of the source");
    (error.fault(), error.to_string())
}

#[test]
fn ranges_come_over_one_connection_that_is_kept() {
    let (web, bytes, blob) = opened(Manner::Right);
    assert_eq!(blob.size(), 100_000);
    for (offset, length) in [(0, 100_000), (4096, 4096), (99_999, 1), (5, 0)] {
        let at = offset as usize;
        assert_eq!(
            read(&*blob, offset, length).unwrap(),
            bytes[at..at + length]
        );
    }
    assert_eq!(web.connections(), 1);
    assert_eq!(
        web.requests(),
        [
            "blob bytes=0-4095",
            "blob bytes=0-99999",
            "blob bytes=4096-8191",
            "blob bytes=99999-99999"
        ]
    );
}

#[test]
fn small_and_empty_blobs_have_their_size() {
    let web = Web::start().unwrap();
    web.put("empty", b"");
    web.put("small", b"abc");
    let client = client(&web.url());
    let empty = client.open(b"v", b"empty").unwrap();
    assert_eq!((empty.size(), empty.identity()), (0, "size=0".to_owned()));
    let small = client.open(b"v", b"small").unwrap();
    assert_eq!(small.size(), 3);
    assert_eq!(read(&*small, 1, 2).unwrap(), b"bc");
}

#[test]
fn names_are_encoded_and_those_that_lead_elsewhere_not_asked_for() {
    let web = Web::start().unwrap();
    web.put("base/a%20b%25", b"abc");
    let client = client(&format!("{}base", web.url()));
    assert_eq!(client.open(b"v", b"a b%").unwrap().size(), 3);
    for name in [&b"../secret"[..], b"..", b"a/b", b""] {
        let error = client.open(b"v", name).err().unwrap();
        assert_eq!(error.raw_os_error(), Some(Errno::INVAL.raw_os_error()));
    }
    assert_eq!(web.requests().len(), 1);
}

/// Each of these in place of an answer to a request for a range.
#[test]
fn an_answer_that_is_wrong_is_an_error() {
    let wrong = [
        (Manner::Whole, Fault::Useless, "no range requests"),
        (Manner::OtherRange, Fault::Useless, "was asked for"),
        (Manner::NoRange, Fault::Useless, "which part"),
        (Manner::OtherSize, Fault::Changed, "of 100001 bytes"),
        (Manner::OtherLength, Fault::Useless, "says that it sends"),
        (Manner::Cut, Fault::Passing, "cut off"),
        (Manner::More, Fault::Useless, "more than it says"),
        (Manner::Gzip, Fault::Useless, "encodes the blob (gzip)"),
        (Manner::WeakEtag, Fault::Changed, "another one"),
        (Manner::NoEtag, Fault::Changed, "another one"),
        (Manner::NoMark, Fault::Changed, "another one"),
        (Manner::Silent, Fault::Passing, "no answer"),
        (Manner::Status(204), Fault::Useless, "204"),
        (
            Manner::Status(302),
            Fault::Useless,
            "Found to 127.0.0.1: redirects",
        ),
        (Manner::Status(304), Fault::Useless, "304"),
        (Manner::Status(401), Fault::Denied, "401"),
        (Manner::Status(403), Fault::Denied, "403"),
        (Manner::Status(404), Fault::Absent, "404"),
        (Manner::Status(412), Fault::Changed, "412"),
        (Manner::Status(416), Fault::Changed, "416"),
        (Manner::Status(429), Fault::Passing, "429"),
        (Manner::Status(500), Fault::Passing, "500"),
        (Manner::Status(503), Fault::Passing, "503"),
    ];
    let (web, bytes, blob) = opened(Manner::Right);
    for (manner, fault, words) in wrong {
        web.behave(manner);
        let (got, said) = read(&*blob, 4096, 8192).expect_err(&format!("{manner:?}"));
        assert_eq!(got, fault, "{manner:?}: {said}");
        assert!(said.contains(words), "{manner:?}: {said}");
    }
    web.behave(Manner::Right);
    assert_eq!(read(&*blob, 4096, 8192).unwrap(), bytes[4096..12_288]);
}

#[test]
fn a_server_that_is_busy_says_when_to_come_back() {
    let after = |manner| {
        // Another client each time, as the server is left alone afterwards.
        let (web, _, blob) = opened(Manner::Right);
        web.behave(manner);
        let error = blob.read_exact_at(&mut [0; 512], 0).unwrap_err();
        (failure(&error).0, retry_after(&error))
    };
    let seconds = |number| (Fault::Passing, Some(Duration::from_secs(number)));
    assert_eq!(after(Manner::Busy(429, "7")), seconds(7));
    assert_eq!(after(Manner::Busy(503, "120")), seconds(120));
    let long = after(Manner::Busy(503, "Tue, 31 Dec 2999 23:59:59 GMT")).1;
    assert!(long.unwrap() > Duration::from_secs(3600));
    for past in ["Sun, 06 Nov 1994 08:49:37 GMT", "later"] {
        assert_eq!(after(Manner::Busy(503, past)), (Fault::Passing, None));
    }
    assert_eq!(after(Manner::Status(503)), (Fault::Passing, None));
    // Where trying again is of no use anyway nobody waits.
    assert_eq!(after(Manner::Busy(404, "7")), (Fault::Absent, None));
}

#[test]
fn a_server_that_is_busy_is_left_alone_for_all_blobs() {
    let (web, bytes) = (Web::start().unwrap(), content(1, 10_000));
    web.put("a", &bytes);
    web.put("b", &bytes);
    let client = client(&web.url());
    let (first, second) = (
        client.open(b"v", b"a").unwrap(),
        client.open(b"v", b"b").unwrap(),
    );
    for status in [429, 503] {
        web.behave_for(1, Manner::Busy(status, "1"));
        let begun = Instant::now();
        read(&*first, 0, 512).unwrap_err();
        let (asked, mut failed) = (web.requests().len(), 0);
        while let Err((fault, said)) = read(&*second, 0, 512) {
            assert_eq!(fault, Fault::Passing);
            assert!(said.contains("does not want to be asked"), "{said}");
            assert_eq!(web.requests().len(), asked);
            // Opening one is a request like others; the pause may end right here.
            let is_open = client.open(b"v", b"b").is_ok();
            assert!(!is_open || begun.elapsed() >= Duration::from_secs(1));
            if is_open {
                break;
            }
            failed += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(failed > 0 && begun.elapsed() >= Duration::from_secs(1));
    }
    // One that does not say when is not left alone, and neither is one with another answer.
    web.behave_for(1, Manner::Status(503));
    read(&*first, 0, 512).unwrap_err();
    for status in [404, 500] {
        web.behave_for(1, Manner::Busy(status, "7"));
        read(&*first, 0, 512).unwrap_err();
    }
    assert_eq!(read(&*second, 0, 512).unwrap(), bytes[..512]);
}

#[test]
fn a_blob_that_cannot_be_known_again_is_not_opened() {
    let web = Web::start().unwrap();
    web.put("blob", &content(1, 10_000));
    let open = |manner| {
        web.behave(manner);
        client(&web.url()).open(b"v", b"blob")
    };
    for manner in [
        Manner::Whole,
        Manner::OtherRange,
        Manner::NoRange,
        Manner::OtherLength,
        Manner::Cut,
        Manner::More,
        Manner::Gzip,
        Manner::NoMark,
        Manner::Silent,
        Manner::Status(200),
        Manner::Status(302),
        Manner::Status(404),
        Manner::Status(416),
    ] {
        // A 200 of no bytes and without a mark among them: it may be any page.
        assert!(open(manner).is_err(), "{manner:?}");
    }
    for manner in [Manner::WeakEtag, Manner::NoEtag] {
        let identity = open(manner).unwrap().identity();
        assert!(identity.contains(" modified=Thu,%2001%20Jan"), "{identity}");
    }
    assert!(open(Manner::Right).unwrap().identity().contains(" etag=\""));
}

#[test]
fn a_content_that_is_replaced_is_noticed_whatever_the_server_knows() {
    for manner in [Manner::Right, Manner::NoConditions, Manner::NoEtag] {
        let (web, _, blob) = opened(manner);
        let identity = blob.identity();
        read(&*blob, 0, 4096).unwrap();
        // As long as before: only the mark tells.
        web.put("blob", &content(2, 100_000));
        let (fault, said) = read(&*blob, 4096, 4096).unwrap_err();
        assert_eq!(fault, Fault::Changed, "{manner:?}: {said}");
        let now = client(&web.url()).open(b"v", b"blob").unwrap();
        assert_ne!(now.identity(), identity);
        // And it stays refused, for the old one.
        read(&*blob, 0, 4096).unwrap_err();
        assert_eq!(read(&*now, 0, 9).unwrap(), content(2, 9));
    }
}

/// As where times are set: rsync -t, SOURCE_DATE_EPOCH.
#[test]
fn a_content_of_the_same_size_time_and_beginning_is_noticed_when_it_is_opened() {
    for manner in [Manner::NoEtag, Manner::NginxEtag] {
        let (web, bytes, blob) = opened(manner);
        let identity = blob.identity();
        let now = || client(&web.url()).open(b"v", b"blob").unwrap().identity();
        assert_eq!(now(), identity);
        // A minute of versions: then the server's time is as it was.
        for _ in 0..60 {
            web.put("blob", &bytes);
        }
        assert_eq!(now(), identity);
        let mut other = content(9, bytes.len());
        other[..4096].copy_from_slice(&bytes[..4096]);
        for _ in 0..60 {
            web.put("blob", &other);
        }
        assert_ne!(now(), identity, "{manner:?}");
        // A byte at the end.
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;
        for _ in 0..60 {
            web.put("blob", &other);
        }
        assert_ne!(now(), identity, "{manner:?}");
    }
}

#[test]
fn a_blob_that_gets_shorter_or_goes_is_noticed() {
    let (web, _, blob) = opened(Manner::NoConditions);
    web.put("blob", &content(1, 8192));
    for offset in [0, 8192] {
        assert_eq!(
            read(&*blob, offset, 4096).unwrap_err().0,
            Fault::Changed,
            "{offset}"
        );
    }
}

#[test]
fn an_index_that_cannot_be_had_is_not_taken_for_none() {
    let (web, bytes) = (Web::start().unwrap(), content(1, 100_000));
    web.put("blob", &bytes);
    let source = Box::new(client(&web.url()));
    let verified = Verified::new(source, Verify::Indexed, HashMap::new());
    let open = || verified.open(b"v", b"blob");
    assert!(!open().unwrap().is_verified());
    web.put("blob.chunks", &chunks::make(&*bytes, 65_536).unwrap());
    let blob = open().unwrap();
    assert!(blob.is_verified());
    assert_eq!(read(&*blob, 65_536, 34_464).unwrap(), bytes[65_536..]);
    // Of these the blob's own answer is fine, and that of its index is not.
    for (manner, fault) in [
        (Manner::Status(503), Fault::Passing),
        (Manner::Silent, Fault::Passing),
        (Manner::Cut, Fault::Passing),
        (Manner::Whole, Fault::Useless),
        (Manner::Status(302), Fault::Useless),
    ] {
        web.behave_after(1, manner);
        let error = open().err().unwrap();
        assert_eq!(failure(&error).0, fault, "{manner:?}");
    }
    for status in [404, 403] {
        web.behave_after(1, Manner::Status(status));
        assert!(!open().unwrap().is_verified());
    }
}

#[test]
fn what_a_server_sends_is_not_believed_but_verified() {
    let (web, bytes) = (Web::start().unwrap(), content(1, 100_000));
    let mut other = bytes.clone();
    other[70_000] ^= 1;
    web.put("blob", &other);
    web.put("blob.chunks", &chunks::make(&*bytes, 65_536).unwrap());
    let source = Box::new(client(&web.url()));
    let verified = Verified::new(source, Verify::Always, HashMap::new());
    let blob = verified.open(b"v", b"blob").unwrap();
    assert_eq!(read(&*blob, 0, 65_536).unwrap(), bytes[..65_536]);
    let (fault, said) = read(&*blob, 65_536, 34_464).unwrap_err();
    assert_eq!(fault, Fault::Corrupt);
    assert!(said.contains("bytes 65536 to 100000"), "{said}");
}

#[test]
fn a_server_that_does_not_answer_costs_the_time_of_a_request() {
    let web = Web::start().unwrap();
    web.put("blob", &content(1, 10_000));
    let options = HttpOptions {
        timeout: SHORT,
        ..options()
    };
    let client = Http::new(BaseUrl::new(&web.url()).unwrap(), &options).unwrap();
    web.behave(Manner::Hanging);
    let begun = Instant::now();
    let error = client.open(b"v", b"blob").err().unwrap();
    let (fault, said) = failure(&error);
    assert_eq!(fault, Fault::Passing);
    assert!(said.contains("timeout"), "{said}");
    assert!((SHORT..SHORT * 50).contains(&begun.elapsed()));
}

#[test]
fn a_server_that_is_not_there_may_come() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let client = client(&format!("http://127.0.0.1:{port}"));
    let error = client.open(b"v", b"blob").err().unwrap();
    assert_eq!(failure(&error).0, Fault::Passing);
}
