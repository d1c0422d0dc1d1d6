// SPDX-License-Identifier: GPL-2.0
//! Stores that a registry sends us on to.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cachefiles_daemon::backend::{
    Backend as _, Blob, Fault, HttpOptions, OciOptions, Verified, Verify,
};
use cachefiles_daemon::index::write_of_layer;

use super::server::{Blobs, REPOSITORY, SIGNATURE, Server, Wants};
use super::{image, open, options, read, registry};

#[test]
fn a_redirect_is_followed_without_what_proves_who_we_are() {
    let (server, layer) = registry();
    let store = Server::start();
    store.put("x", &[&layer]);
    server.state().wants = Wants::Token;
    let to = format!("http://{}/store/", store.host());
    server.state().answers = Blobs::Elsewhere(to);
    let blob = open(&image(&server, ":1", &options()), "app").unwrap();
    for at in [0, 4096, 50_000] {
        assert_eq!(read(&*blob, at, 4096).unwrap(), layer[at..at + 4096]);
    }
    let stored = store.seen("/store/");
    assert_eq!(stored.len(), 3);
    assert!(
        stored.iter().all(|it| it.authorization.is_empty()),
        "{stored:?}"
    );
    // The store is asked again without the registry.
    let asked = server.seen("/blobs/");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked
            .iter()
            .all(|it| it.authorization.starts_with("Bearer "))
    );
    // Until it has it no more: then the registry is asked where it is.
    store.state().blobs.clear();
    let other = Server::start();
    other.put("x", &[&layer]);
    let to = format!("http://{}/store/", other.host());
    server.state().answers = Blobs::Elsewhere(to);
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    assert_eq!(server.seen("/blobs/").len(), 2);
}

#[test]
fn a_redirect_that_goes_on_or_nowhere_is_an_error() {
    let (server, _) = registry();
    let blob = open(&image(&server, ":1", &options()), "app").unwrap();
    let around = format!("http://{}/v2/{REPOSITORY}/blobs/sha256:", server.host());
    for (to, words) in [
        (around.as_str(), "on and on"),
        ("file:///etc/", "no https"),
        ("//host/", "no https"),
        ("elsewhere/", "no https"),
    ] {
        server.state().answers = Blobs::Elsewhere(to.to_owned());
        let (fault, said) = read(&*blob, 0, 512).unwrap_err();
        assert_eq!(fault, Fault::Useless);
        assert!(said.contains(words) && !said.contains(SIGNATURE), "{said}");
    }
    assert!(server.seen("/blobs/").len() < 20);
}

/// Options by which a request takes no longer than so many milliseconds.
fn impatient(timeout: u64) -> OciOptions {
    let http = HttpOptions {
        timeout: Duration::from_millis(timeout),
        ..options().http
    };
    OciOptions { http, ..options() }
}

/// A blob that has been read from a store, and the registry that has sent us on to that.
fn stored(options: &OciOptions) -> (Server, Server, Vec<u8>, Box<dyn Blob>) {
    let (server, layer) = registry();
    let store = Server::start();
    store.put("x", &[&layer]);
    let to = format!("http://{}/store/", store.host());
    server.state().answers = Blobs::Elsewhere(to);
    let blob = open(&image(&server, ":1", options), "app").unwrap();
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    (server, store, layer, blob)
}

#[test]
fn a_store_with_which_something_is_wrong_is_left_in_the_same_read() {
    for answers in [
        Blobs::Busy(503, "soon"),
        Blobs::Busy(503, "50"),
        Blobs::Busy(403, "soon"),
        Blobs::Whole,
        Blobs::Closed,
        Blobs::Cut,
        Blobs::Nothing,
    ] {
        let (server, store, layer, blob) = stored(&impatient(1500));
        store.state().answers = answers.clone();
        server.state().answers = Blobs::Part;
        let asked = server.seen("/blobs/").len();
        let got = read(&*blob, 4096, 512);
        assert_eq!(got.unwrap(), layer[4096..4608], "{answers:?}");
        assert_eq!(server.seen("/blobs/").len(), asked + 1);
        // And it is not asked again, unless the registry names it.
        let asked = store.seen("/store/").len();
        assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
        assert_eq!(store.seen("/store/").len(), asked);
        store.state().answers = Blobs::Part;
    }
}

#[test]
fn a_store_is_asked_again_only_after_a_part_that_was_whole() {
    let (server, store, layer, blob) = stored(&impatient(1500));
    store.state().answers = Blobs::Cut;
    for at in 2..4 {
        let (fault, said) = read(&*blob, 0, 512).unwrap_err();
        assert_eq!(fault, Fault::Passing);
        assert!(said.contains(&store.host()), "who it was: {said}");
        assert_eq!(
            server.seen("/blobs/").len(),
            at,
            "the registry is asked each time"
        );
    }
    store.state().answers = Blobs::Part;
    for _ in 0..2 {
        assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    }
    assert_eq!(server.seen("/blobs/").len(), 4);
}

#[test]
fn a_store_whose_bytes_are_not_those_of_the_index_is_left() {
    let (server, store, layer, _) = stored(&options());
    let indexes = tempfile::tempdir().unwrap();
    let options = OciOptions {
        indexes: Some(indexes.path().to_owned()),
        ..options()
    };
    let oci = || image(&server, ":1", &options);
    write_of_layer(&oci(), b"app", 4096, indexes.path()).unwrap();
    let source = Verified::new(Box::new(oci()), Verify::Always, HashMap::new());
    let blob = source.open(b"v", b"app").unwrap();
    assert_eq!(read(&*blob, 0, 4096).unwrap(), layer[..4096]);
    store.state().answers = Blobs::Corrupt;
    server.state().answers = Blobs::Part;
    assert_eq!(read(&*blob, 49_152, 4096).unwrap_err().0, Fault::Corrupt);
    assert_eq!(read(&*blob, 49_152, 4096).unwrap(), layer[49_152..53_248]);
}

/// Of a store, who gives tokens and a registry none answers in time.
#[test]
fn a_read_ends_in_time_whatever_has_to_be_asked_for_it() {
    let (server, layer) = registry();
    let blob = open(&image(&server, ":1", &impatient(1000)), "app").unwrap();
    server.state().answers = Blobs::Nothing;
    server.state().wants = Wants::Token;
    std::thread::scope(|scope| {
        let reader = || {
            let begun = Instant::now();
            let fault = read(&*blob, 0, 512).unwrap_err().0;
            (fault, begun.elapsed())
        };
        let readers: Vec<_> = (0..16).map(|_| scope.spawn(reader)).collect();
        for reader in readers {
            let (fault, took) = reader.join().unwrap();
            assert_eq!(fault, Fault::Passing);
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
    });
    server.state().answers = Blobs::Part;
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
}
