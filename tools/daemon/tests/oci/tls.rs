// SPDX-License-Identifier: GPL-2.0
//! Registries that prove who they are: what is told to them is told to nobody else.

use cachefiles_daemon::backend::{Fault, HttpOptions, OciOptions};

use super::server::{Blobs, PASSWORD, REPOSITORY, Server, Wants, fixture};
use super::{content, image, open, options, read, registry};

/// Options by which the fixture's certificate is believed.
fn trusting(is_plain: bool) -> OciOptions {
    let http = HttpOptions {
        ca_file: Some(fixture("certificate.pem")),
        ..options().http
    };
    OciOptions {
        http,
        is_plain,
        ..options()
    }
}

/// A registry behind TLS.
fn secure() -> (Server, Vec<u8>) {
    let (server, layer) = (Server::start_tls(), content(1, 100_000));
    server.put("1", &[&layer]);
    (server, layer)
}

#[test]
fn a_password_is_not_for_who_gives_tokens_without_tls() {
    let (server, layer) = secure();
    let listener = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    let text = format!(
        r#"{{"auths":{{"{}":{{"username":"me","password":"{PASSWORD}"}}}}}}"#,
        server.host()
    );
    std::fs::write(&config, text).unwrap();
    let options = OciOptions {
        docker_config: Some(config),
        ..trusting(false)
    };
    server.state().wants = Wants::Token;
    server.state().user = Some(("me".into(), PASSWORD.into()));
    let blob = open(&image(&server, ":1", &options), "app").unwrap();
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    server.state().realm = Some(format!("{}/token", listener.url()));
    server.revoke();
    let (fault, said) = read(&*blob, 0, 512).unwrap_err();
    assert_eq!(fault, Fault::Useless);
    assert!(said.contains("not at an https"), "{said}");
    assert!(listener.seen("").is_empty());
}

#[test]
fn a_registry_does_not_send_us_on_to_a_store_without_tls() {
    let (server, layer) = secure();
    let store = Server::start();
    store.put("x", &[&layer]);
    let blob = open(&image(&server, ":1", &trusting(false)), "app").unwrap();
    server.state().answers = Blobs::Elsewhere(format!("{}/store/", store.url()));
    let (fault, said) = read(&*blob, 0, 512).unwrap_err();
    assert_eq!(fault, Fault::Useless);
    assert!(said.contains("no https"), "{said}");
    assert!(store.seen("").is_empty());
}

#[test]
fn a_registry_without_tls_may_have_a_store_with_it_that_proves_who_it_is() {
    let (server, layer) = registry();
    let store = Server::start_tls();
    store.put("x", &[&layer]);
    server.state().answers = Blobs::Elsewhere(format!("{}/store/", store.url()));
    let blob = open(&image(&server, ":1", &trusting(true)), "app").unwrap();
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    let http = HttpOptions {
        ca_file: Some(fixture("other.pem")),
        ..options().http
    };
    let options = OciOptions { http, ..options() };
    let blob = open(&image(&server, ":1", &options), "app").unwrap();
    let (fault, said) = read(&*blob, 0, 512).unwrap_err();
    assert_eq!(fault, Fault::Useless);
    assert!(
        said.contains("certificate") && said.contains("localhost"),
        "{said}"
    );
}

#[test]
fn who_is_sent_away_and_back_does_not_come_as_who_he_was() {
    let (server, _) = registry();
    let store = Server::start();
    server.state().wants = Wants::Token;
    let blob = open(&image(&server, ":1", &options()), "app").unwrap();
    let back = format!("{}/v2/{REPOSITORY}/blobs/sha256:", server.url());
    store.put("x", &[&content(1, 100_000)]);
    store.state().answers = Blobs::Elsewhere(back);
    server.state().answers = Blobs::Elsewhere(format!("{}/store/", store.url()));
    read(&*blob, 0, 512).unwrap_err();
    assert_eq!(store.seen("/store/").len(), 1);
    let again = server.seen("?key=");
    assert_eq!(again.len(), 1);
    assert!(again[0].authorization.is_empty());
}
