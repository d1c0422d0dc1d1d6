// SPDX-License-Identifier: GPL-2.0
//! Tokens: that they are got when they are wanted, once, and that nobody storms who gives none.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use cachefiles_daemon::backend::{Blob, Fault, HttpOptions, OciOptions};

use super::server::{After, Blobs, Server, Wants};
use super::{image, open, options, read, registry};

const READERS: usize = 64;

/// A registry that wants tokens, and its blob, which is open.
fn opened() -> (Server, Vec<u8>, Box<dyn Blob>) {
    let (server, layer) = registry();
    server.state().wants = Wants::Token;
    let blob = open(&image(&server, ":1", &options()), "app").unwrap();
    (server, layer, blob)
}

/// Reads a page by each of many threads at a time, and gives how it ended.
fn read_at_once(blob: &dyn Blob, layer: &[u8]) -> Vec<Result<(), (Fault, String)>> {
    let barrier = Barrier::new(READERS);
    std::thread::scope(|scope| {
        let reader = |at: usize| {
            let barrier = &barrier;
            move || {
                barrier.wait();
                let got = read(blob, at * 512, 512)?;
                assert_eq!(got, layer[at * 512..][..512]);
                Ok(())
            }
        };
        let threads: Vec<_> = (0..READERS).map(|at| scope.spawn(reader(at))).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    })
}

#[test]
fn a_token_is_got_once_and_used_for_all() {
    let (server, layer, blob) = opened();
    assert!(read_at_once(&*blob, &layer).iter().all(Result::is_ok));
    assert_eq!(server.state().given, 1);
    let asked = server.seen("/v2/");
    let refused = asked.iter().filter(|it| it.authorization.is_empty());
    assert_eq!(refused.count(), 1, "the first of all");
    assert_eq!(server.seen("/blobs/").len(), READERS);
}

#[test]
fn a_token_that_is_over_under_many_readers_is_renewed_by_one_request() {
    let (server, layer, blob) = opened();
    for round in 2..6 {
        server.revoke();
        // All of them are refused before any is.
        server.state().gather = READERS;
        let asked = server.seen("/blobs/").len();
        let ended = read_at_once(&*blob, &layer);
        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
        assert_eq!(server.state().given, round);
        assert_eq!(server.seen("/blobs/").len() - asked, 2 * READERS);
    }
}

#[test]
fn a_registry_that_refuses_every_token_is_not_stormed() {
    let (server, layer, blob) = opened();
    server.state().wants = Wants::Impossible;
    server.state().gather = READERS;
    let given = server.state().given;
    for ended in read_at_once(&*blob, &layer) {
        let (fault, said) = ended.unwrap_err();
        assert_eq!(fault, Fault::Denied);
        assert!(said.contains("refuses (401, 403)"), "{said}");
    }
    assert_eq!(server.state().given, given + 1);
    assert_eq!(server.seen("/blobs/").len(), READERS + 1);
    // And for a while nobody is asked at all.
    for ended in read_at_once(&*blob, &layer) {
        assert!(ended.unwrap_err().1.contains("asked again in"));
    }
    assert_eq!(server.state().given, given + 1);
    assert_eq!(server.seen("/blobs/").len(), READERS + 1);
    // Then one tries.
    std::thread::sleep(Duration::from_millis(1100));
    read_at_once(&*blob, &layer);
    assert_eq!(server.state().given, given + 2);
    // One without a token, to be told who gives it, and one with it.
    assert_eq!(server.seen("/blobs/").len(), READERS + 3);
    server.state().wants = Wants::Token;
    std::thread::sleep(Duration::from_millis(2100));
    assert!(read_at_once(&*blob, &layer).iter().all(Result::is_ok));
    assert_eq!(server.state().given, given + 3);
}

#[test]
fn a_registry_that_fails_with_a_new_token_is_not_asked_by_one_after_the_other() {
    let (server, layer, blob) = opened();
    server.revoke();
    server.state().gather = READERS;
    server.state().answers = Blobs::Busy(503, "soon");
    for ended in read_at_once(&*blob, &layer) {
        let (fault, said) = ended.unwrap_err();
        assert_eq!(fault, Fault::Passing);
        assert!(said.contains("answers 503"), "{said}");
    }
    assert_eq!(server.seen("/blobs/").len(), READERS + 1);
    server.state().answers = Blobs::Part;
    std::thread::sleep(Duration::from_millis(1100));
    assert!(read_at_once(&*blob, &layer).iter().all(Result::is_ok));
    assert_eq!(server.state().given, 2);
}

#[test]
fn who_gives_no_tokens_is_asked_by_one_and_then_left_alone() {
    for (status, fault) in [
        (503, Fault::Passing),
        (401, Fault::Denied),
        (403, Fault::Denied),
        (404, Fault::Useless),
    ] {
        let (server, layer, blob) = opened();
        server.revoke();
        server.state().gather = READERS;
        server.state().no_tokens = Some(status);
        let asked = server.seen("/token").len();
        for ended in read_at_once(&*blob, &layer) {
            let (got, said) = ended.unwrap_err();
            assert_eq!(got, fault, "{said}");
            let who = format!("no token: http://{}, ", server.host());
            assert!(said.contains(&who), "{said}");
            assert!(said.contains(&status.to_string()), "{said}");
        }
        assert_eq!(server.seen("/token").len(), asked + 1);
        server.state().no_tokens = None;
        std::thread::sleep(Duration::from_millis(1100));
        assert!(read_at_once(&*blob, &layer).iter().all(Result::is_ok));
        assert_eq!(server.seen("/token").len(), asked + 2);
    }
}

#[test]
fn a_registry_that_hangs_or_fails_after_its_401_is_not_asked_by_one_after_the_other() {
    for after in [After::Nothing, After::Failure] {
        let (server, layer) = registry();
        server.state().wants = Wants::Token;
        let options = OciOptions {
            http: HttpOptions {
                timeout: Duration::from_secs(2),
                ..options().http
            },
            ..options()
        };
        let blob = open(&image(&server, ":1", &options), "app").unwrap();
        server.revoke();
        server.state().gather = READERS;
        server.state().after_token = Some(after);
        let begun = Instant::now();
        for ended in read_at_once(&*blob, &layer) {
            assert_eq!(ended.unwrap_err().0, Fault::Passing);
        }
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "{:?}",
            begun.elapsed()
        );
        let asked = server.seen("/blobs/").len();
        assert!(asked < 2 * READERS, "{asked}");
        server.state().after_token = None;
        std::thread::sleep(Duration::from_millis(1100));
        assert!(read_at_once(&*blob, &layer).iter().all(Result::is_ok));
    }
}

#[test]
fn a_token_is_renewed_before_it_is_over_and_no_request_is_refused() {
    let (server, layer) = registry();
    server.state().wants = Wants::Token;
    server.state().expires_in = Some(8);
    let blob = open(&image(&server, ":1", &options()), "app").unwrap();
    let begun = Instant::now();
    while server.state().given < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert!(read_at_once(&*blob, &layer).iter().all(Result::is_ok));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(server.state().given, 2, "by one of them");
    assert!((5..8).contains(&begun.elapsed().as_secs()));
    // One that cannot be renewed is used until it is over.
    server.state().no_tokens = Some(503);
    std::thread::sleep(Duration::from_millis(6300));
    let tries = server.seen("/token").len();
    for _ in 0..5 {
        assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    }
    assert_eq!(server.seen("/token").len(), tries + 1);
    let asked = server.seen("/blobs/");
    let used = |number| asked.iter().any(|it| it.authorization.ends_with(number));
    assert!(used("1") && used("2"));
    assert!(asked.iter().all(|it| !it.authorization.is_empty()));
}
