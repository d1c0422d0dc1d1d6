// SPDX-License-Identifier: GPL-2.0
//! What the program itself says on its finest level: no secret, whatever happens.

use std::path::Path;
use std::process::Command;

use super::server::{Blobs, PASSWORD, Server, Wants, secrets};
use super::{content, registry};

/// Has the program make the index of the image `app`, and gives whether that was well and what it
/// said: no secret.
pub fn index(server: &Server, dir: &Path, config: &Path) -> (bool, String) {
    let path = std::env::var("PATH").unwrap();
    let image = format!("app={}/{}:1", server.host(), super::REPOSITORY);
    let output = Command::new(env!("CARGO_BIN_EXE_cachefiles-ondemandd"))
        .args(["--log-level", "trace", "index", "--plain-http", "--image"])
        .arg(image)
        .arg("--indexes")
        .arg(dir)
        .arg("--docker-config")
        .arg(config)
        .arg("app")
        .env("PATH", format!("{}:{path}", dir.display()))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    for secret in secrets() {
        assert!(!said.contains(&secret), "{said}");
    }
    (output.status.success(), said)
}

/// What is refused is not repeated if it may have a password in it, by whichever way it comes.
#[test]
fn a_password_in_the_name_of_an_image_is_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = dir.path().to_str().unwrap();
    let path = dir.path().join("config.toml");
    for image in ["app=me:SECRET@h.org/app", "me:SECRET@h.org/app"] {
        let (name, value) = image.split_once('=').unwrap_or(("app", image));
        let text = format!("indexes = '{blobs}'\n[image]\n{name} = '{value}'\n");
        std::fs::write(&path, text).unwrap();
        let config = path.to_str().unwrap();
        let index = ["index", "--indexes", blobs, "app", "--image", image];
        for arguments in [
            &index[..],
            &["serve", "--image", image],
            &["serve", "--config", config],
            &["index", "--config", config, "app"],
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_cachefiles-ondemandd"))
                .args(["--log-level", "trace"])
                .args(arguments)
                .output()
                .unwrap();
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert!(!output.status.success(), "{said}");
            assert!(!said.contains("SECRET"), "{said}");
            assert!(said.contains("--docker-config"), "{said}");
        }
    }
}

/// What `serve` says before it needs the device, which it need not get.
fn start(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cachefiles-ondemandd"))
        .args(["serve", "--device", "/nowhere/device", "--dir", "/nowhere"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn an_image_that_is_named_by_a_tag_is_warned_of_and_one_by_its_digest_is_not() {
    let fixed = format!("b=127.0.0.1:1/b@sha256:{}", "a".repeat(64));
    let said = start(&[
        "--plain-http",
        "--image",
        "app=127.0.0.1:1/app",
        "--image",
        &fixed,
    ]);
    let warned: Vec<&str> = said.lines().filter(|it| it.contains("by a tag")).collect();
    assert_eq!(warned.len(), 1, "{said}");
    assert!(
        warned[0].contains("app is named by a tag (127.0.0.1:1/app:latest)"),
        "{said}"
    );
}

#[test]
fn a_file_of_credentials_that_is_not_understood_is_noticed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    for text in [None, Some("{\"auths\": SECRET")] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let path = path.to_str().unwrap();
        let image = ["--plain-http", "--image", "app=127.0.0.1:1/app"];
        let said = start(&[&image[..], &["--docker-config", path]].concat());
        assert!(
            said.contains("cannot read the credentials") && said.contains(path),
            "{said}"
        );
        assert!(!said.contains("SECRET"), "{said}");
    }
}

#[test]
fn no_secret_is_in_any_line() {
    let (server, layer) = registry();
    let store = Server::start();
    store.put("x", &[&layer, &content(3, 10)]);
    server.state().user = Some(("me".into(), PASSWORD.into()));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let text = |password: &str| {
        format!(
            r#"{{"auths":{{"{}":{{"username":"me","password":"{password}"}}}}}}"#,
            server.host()
        )
    };
    let elsewhere = Blobs::Elsewhere(format!("http://{}/store/", store.host()));
    for wants in [Wants::Token, Wants::Password, Wants::Impossible] {
        for password in [PASSWORD, "other-SECRET"] {
            for answers in [Blobs::Part, elsewhere.clone(), Blobs::Whole, Blobs::Corrupt] {
                std::fs::write(&path, text(password)).unwrap();
                server.state().wants = wants;
                server.state().answers = answers.clone();
                let (is_well, said) = index(&server, dir.path(), &path);
                let is_right = password == PASSWORD && wants != Wants::Impossible;
                let is_whole = answers == Blobs::Part || answers == elsewhere;
                assert_eq!(is_well, is_right && is_whole, "{said}");
                // The finest level it is: what the client says of its connections.
                assert!(said.contains("Connected TcpStream"), "{said}");
            }
        }
    }
    assert!(!store.seen("/store/").is_empty());
    assert!(store.seen("/").iter().all(|it| it.authorization.is_empty()));
}
