// SPDX-License-Identifier: GPL-2.0
//! By which certificates a server is believed.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

/// Whose certificates there have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roots {
    /// Nobody's: no server is asked that would have to prove who it is.
    None,
    /// Those that are given, or the system's if it has any.
    IfAny,
    /// Those that are given, or the system's.
    Wanted,
}

/// Loads the certificates.
pub fn config(roots: Roots, ca_file: Option<&Path>) -> Result<TlsConfig> {
    let roots = match (roots, ca_file) {
        (Roots::None, _) => Vec::new(),
        (_, Some(path)) => of_file(path)?,
        (Roots::IfAny, None) => of_system().unwrap_or_default(),
        (Roots::Wanted, None) => of_system()?,
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
