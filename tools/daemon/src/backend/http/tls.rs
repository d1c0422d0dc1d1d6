// SPDX-License-Identifier: GPL-2.0
//! By which certificates a server is believed.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

/// Loads the certificates, if the server is to prove who it is.
pub fn config(is_https: bool, ca_file: Option<&Path>) -> Result<TlsConfig> {
    let roots = match (is_https, ca_file) {
        (false, _) => Vec::new(),
        (true, Some(path)) => of_file(path)?,
        (true, None) => of_system()?,
    };
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build())
}

fn of_file(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = std::fs::read(path)
        .with_context(|| format!("cannot read the certificates {}", path.display()))?;
    let mut roots = Vec::new();
    for item in parse_pem(&pem) {
        let item = item.with_context(|| format!("{} is no PEM file", path.display()))?;
        if let PemItem::Certificate(certificate) = item {
            roots.push(certificate);
        }
    }
    ensure!(
        !roots.is_empty(),
        "there is no certificate in {}",
        path.display()
    );
    Ok(roots)
}

fn of_system() -> Result<Vec<Certificate<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("a certificate of the system: {error}");
    }
    ensure!(
        !found.certs.is_empty(),
        "this system has no certificates by which a server could be believed: install \
         ca-certificates, or give --ca-file"
    );
    let own = |certificate| Certificate::from_der(certificate).to_owned();
    Ok(found.certs.iter().map(|it| own(it)).collect())
}
