// SPDX-License-Identifier: GPL-2.0
//! A server that proves who it is, and one that cannot.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cachefiles_daemon::backend::{Backend as _, BaseUrl, Fault, Http, HttpOptions};
use cachefiles_harness::web::Web;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{failure, options, read};

/// Made by `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj
/// /CN=localhost -addext subjectAltName=DNS:localhost`, and good for nothing but this test.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/http")
        .join(name)
}

/// Has the server answer behind TLS as well, and gives the port of that.
fn start_tls(web: &Web) -> u16 {
    let certificate = CertificateDer::from_pem_file(fixture("certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let web = web.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (web, config) = (web.clone(), Arc::clone(&config));
            std::thread::spawn(move || {
                let connection = ServerConnection::new(config).unwrap();
                // A client that does not believe it hangs up.
                let _ = web.converse(StreamOwned::new(connection, stream));
            });
        }
    });
    port
}

fn trusting(url: &str, ca_file: &Path) -> Http {
    let options = HttpOptions {
        ca_file: Some(ca_file.to_owned()),
        ..options()
    };
    Http::new(BaseUrl::new(url).unwrap(), &options).unwrap()
}

#[test]
fn a_server_is_believed_by_its_certificate_only() {
    let web = Web::start().unwrap();
    web.put("blob", b"abc");
    let port = start_tls(&web);
    let by_name = format!("https://localhost:{port}/");
    let own = fixture("certificate.pem");
    let blob = trusting(&by_name, &own).open(b"v", b"blob").unwrap();
    assert_eq!(read(&*blob, 0, 3).unwrap(), b"abc");
    // The certificate is of another name; or of somebody whom nobody told us to believe.
    let by_address = format!("https://127.0.0.1:{port}/");
    let other = fixture("other.pem");
    for (url, ca_file) in [(&by_address, &own), (&by_name, &other)] {
        let error = trusting(url, ca_file).open(b"v", b"blob").err().unwrap();
        let (fault, said) = failure(&error);
        assert_eq!(fault, Fault::Useless, "{said}");
        assert!(said.contains("certificate"), "{said}");
    }
}

#[test]
fn certificates_that_are_none_are_refused() {
    let base = || BaseUrl::new("https://localhost/").unwrap();
    for ca_file in [fixture("absent.pem"), fixture("tls.rs"), fixture("key.pem")] {
        let options = HttpOptions {
            ca_file: Some(ca_file),
            ..options()
        };
        assert!(Http::new(base(), &options).is_err());
    }
}
