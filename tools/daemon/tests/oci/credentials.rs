// SPDX-License-Identifier: GPL-2.0
//! Who we are, by docker's `config.json`, while that changes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cachefiles_daemon::backend::Fault;

use super::server::{PASSWORD, Server, TOKEN, Wants};
use super::{image, open, read, registry, with_config};

/// A `config.json` with a user and a password for a registry.
fn config(server: &Server, password: &str) -> String {
    let encoded = STANDARD.encode(format!("me:{password}"));
    format!(
        r#"{{"auths":{{"{}":{{"auth":"{encoded}"}}}}}}"#,
        server.host()
    )
}

/// As programs write such files: a new one in place of the old one.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

/// A registry whose tokens are for one user.
fn private() -> (Server, Vec<u8>, tempfile::TempDir, PathBuf) {
    let (server, layer) = registry();
    server.state().wants = Wants::Token;
    server.state().user = Some(("me".into(), PASSWORD.into()));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    (server, layer, dir, path)
}

#[test]
fn a_password_is_for_who_gives_tokens_and_tokens_are_for_the_registry() {
    let (server, layer, _dir, path) = private();
    fs::write(&path, config(&server, PASSWORD)).unwrap();
    let blob = open(&image(&server, ":1", &with_config(path)), "app").unwrap();
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    assert!(server.seen("/token")[0].authorization.starts_with("Basic "));
    let asked = server.seen("/v2/");
    assert!(
        asked
            .iter()
            .all(|it| !it.authorization.starts_with("Basic"))
    );
}

#[test]
fn a_password_may_be_for_the_registry_itself() {
    let (server, layer, _dir, path) = private();
    server.state().wants = Wants::Password;
    fs::write(&path, config(&server, PASSWORD)).unwrap();
    let blob = open(&image(&server, ":1", &with_config(path.clone())), "app").unwrap();
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    assert!(server.seen("/token").is_empty());
    fs::write(&path, "{}").unwrap();
    let oci = image(&server, ":1", &with_config(path));
    let (fault, said) = open(&oci, "app").err().unwrap();
    assert_eq!(fault, Fault::Denied);
    assert!(said.contains("no credentials"), "{said}");
}

#[test]
fn an_identity_is_exchanged_for_a_token() {
    let (server, layer, _dir, path) = private();
    let text = format!(
        r#"{{"auths":{{"{}":{{"identitytoken":"{TOKEN}-id"}}}}}}"#,
        server.host()
    );
    fs::write(&path, text).unwrap();
    let blob = open(&image(&server, ":1", &with_config(path)), "app").unwrap();
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    assert!(
        server.seen("/token")[0].path.ends_with("/token"),
        "nothing in the URL"
    );
}

#[test]
fn credentials_that_change_count_at_once() {
    let (server, layer, _dir, path) = private();
    fs::write(&path, config(&server, "old-SECRET")).unwrap();
    let oci = image(&server, ":1", &with_config(path.clone()));
    let (fault, said) = open(&oci, "app").err().unwrap();
    assert_eq!(fault, Fault::Denied);
    assert!(said.contains("are the credentials"), "{said}");
    // Not again for a while, unless they have changed.
    let asked = server.seen("/token").len();
    open(&oci, "app").err().unwrap();
    assert_eq!(server.seen("/token").len(), asked);
    replace(&path, &config(&server, PASSWORD));
    let blob = open(&oci, "app").unwrap();
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    // The password is another one, and so is the one in the file.
    server.state().user = Some(("me".into(), "new-SECRET".into()));
    server.revoke();
    replace(&path, &config(&server, "new-SECRET"));
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    // Half of a file, and then no file.
    server.revoke();
    replace(&path, "{\"auths\":{\"SECRET");
    let (fault, said) = read(&*blob, 0, 512).unwrap_err();
    assert_eq!(fault, Fault::Passing);
    assert!(said.contains("cannot read the credentials"), "{said}");
    fs::remove_file(&path).unwrap();
    assert_eq!(read(&*blob, 0, 512).unwrap_err().0, Fault::Passing);
    replace(&path, &config(&server, "new-SECRET"));
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
}

#[test]
fn a_password_that_is_over_with_a_403_is_got_anew_and_another_403_is_a_pause() {
    let (server, layer, _dir, path) = private();
    server.state().wants = Wants::Password;
    fs::write(&path, config(&server, PASSWORD)).unwrap();
    let blob = open(&image(&server, ":1", &with_config(path.clone())), "app").unwrap();
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    // As with a helper: the next password is there before anybody is refused.
    server.state().forbids = true;
    server.state().user = Some(("me".into(), "new-SECRET".into()));
    replace(&path, &config(&server, "new-SECRET"));
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
    // And here it is not.
    server.state().user = Some(("me".into(), "next-SECRET".into()));
    let asked = server.seen("/blobs/").len();
    for _ in 0..5 {
        assert_eq!(read(&*blob, 0, 512).unwrap_err().0, Fault::Denied);
    }
    assert_eq!(server.seen("/blobs/").len(), asked + 2, "it was stormed");
    replace(&path, &config(&server, "next-SECRET"));
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
}

#[test]
fn a_registry_that_wants_something_else_after_a_failure_gets_that() {
    let (server, layer) = registry();
    server.state().wants = Wants::Password;
    let oci = image(&server, ":1", &super::options());
    let (fault, said) = open(&oci, "app").err().unwrap();
    assert_eq!(fault, Fault::Denied);
    assert!(said.contains("no credentials"), "{said}");
    server.state().wants = Wants::Token;
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let blob = open(&oci, "app").unwrap();
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
}

/// The helper has to be in PATH, which is the same for all tests of a process: so they are in the
/// one that is there, under names that nobody else has.
fn helper(dir: &Path, script: &str) -> String {
    let name = format!("test-{}", dir.file_name().unwrap().to_str().unwrap());
    let name = name.replace('.', "");
    let path = dir.join(format!("docker-credential-{name}"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    name
}

/// Runs the program with a helper in its PATH, and gives whether it was well and what it said.
fn index(server: &Server, dir: &Path, script: &str) -> (bool, String) {
    let name = helper(dir, script);
    let config = dir.join("config.json");
    let text = format!(r#"{{"credHelpers":{{"{}":"{name}"}}}}"#, server.host());
    fs::write(&config, text).unwrap();
    super::logs::index(server, dir, &config)
}

#[test]
fn a_helper_is_asked_and_one_that_fails_is_an_error_that_names_it() {
    let (server, _, dir, _) = private();
    let answer = |user: &str, secret: &str| {
        format!(
            "read server\n[ \"$server\" = {} ] || exit 9\necho '{{\"Username\":\"{user}\",\"Secret\":\"{secret}\"}}'",
            server.host()
        )
    };
    // `read` fails at the end of a line that does not end; the variable is set nevertheless.
    let (is_well, said) = index(&server, dir.path(), &answer("me", PASSWORD));
    assert!(is_well, "{said}");
    let identity = answer("<token>", &format!("{TOKEN}-id"));
    let (is_well, said) = index(&server, dir.path(), &identity);
    assert!(is_well, "{said}");
    for (script, words) in [
        (
            format!("echo {PASSWORD}; echo {PASSWORD} >&2; exit 1"),
            "it has failed",
        ),
        (format!("echo {PASSWORD}"), "something else than a user"),
        (
            "echo credentials not found in native keychain; exit 1".into(),
            "answers 401",
        ),
    ] {
        let (is_well, said) = index(&server, dir.path(), &script);
        assert!(!is_well && said.contains(words), "{said}");
    }
    server.state().wants = Wants::Password;
    let nothing = "echo credentials not found in native keychain; exit 1";
    let (is_well, said) = index(&server, dir.path(), nothing);
    let words = format!("has no credentials for {}", server.host());
    assert!(!is_well && said.contains(&words), "{said}");
}
