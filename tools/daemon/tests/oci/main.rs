// SPDX-License-Identifier: GPL-2.0
//! Images of a registry, and everything that may go wrong with one.

mod credentials;
mod logs;
mod server;
mod store;
mod tls;
mod token;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cachefiles_daemon::backend::{
    Backend, Blob, Fault, HttpOptions, Oci, OciOptions, Reference, Verified, Verify, retry_after,
    source_error,
};
use cachefiles_daemon::index::write_of_layer;

use server::{Blobs, REPOSITORY, Server, digest_of, secrets};

/// Options for a registry on this machine.
fn options() -> OciOptions {
    OciOptions {
        http: HttpOptions {
            ca_file: None,
            proxy: None,
            timeout: Duration::from_secs(60),
            connections: 64,
        },
        docker_config: None,
        is_plain: true,
        indexes: None,
    }
}

fn with_config(config: PathBuf) -> OciOptions {
    OciOptions {
        docker_config: Some(config),
        ..options()
    }
}

/// The image `app` of a registry, under a tag or `@` and a digest.
fn image(server: &Server, which: &str, options: &OciOptions) -> Oci {
    let reference = format!("{}/{REPOSITORY}{which}", server.host());
    let reference = Reference::parse(&reference).unwrap();
    Oci::new(&[("app".into(), reference)], options).unwrap()
}

fn content(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| ((at + seed) % 251) as u8 + 1)
        .collect()
}

/// A registry with an image of one layer.
fn registry() -> (Server, Vec<u8>) {
    let (server, layer) = (Server::start(), content(1, 100_000));
    server.put("1", &[&layer]);
    (server, layer)
}

/// What kind of failure it is, and what it says: nothing that is to stay a secret.
fn failure(error: &io::Error) -> (Fault, String) {
    let said = error.to_string();
    for secret in secrets() {
        assert!(!said.contains(&secret), "{said}");
    }
    (
        source_error(error).expect("an error of the source").fault(),
        said,
    )
}

fn read(blob: &dyn Blob, offset: usize, length: usize) -> Result<Vec<u8>, (Fault, String)> {
    let mut buffer = vec![0xee; length];
    match blob.read_exact_at(&mut buffer, offset as u64) {
        Ok(()) => Ok(buffer),
        Err(error) => Err(failure(&error)),
    }
}

fn open(oci: &Oci, key: &str) -> Result<Box<dyn Blob>, (Fault, String)> {
    oci.open(b"v", key.as_bytes())
        .map_err(|error| failure(&error))
}

#[test]
fn layers_are_blobs_by_their_number_and_digest_and_their_manifest_is_fetched_once() {
    let server = Server::start();
    let layers = [content(1, 9000), content(2, 5000)];
    let digests = server.put("1", &[&layers[0], &layers[1]]);
    let oci = image(&server, ":1", &options());
    for (at, layer) in layers.iter().enumerate() {
        for key in [format!("app:{}", at + 1), format!("sha256:{}", digests[at])] {
            let blob = open(&oci, &key).unwrap();
            assert_eq!(blob.size(), layer.len() as u64);
            assert_eq!(
                blob.identity(),
                format!("size={} sha256={}", layer.len(), digests[at])
            );
            assert_eq!(read(&*blob, 4096, 904).unwrap(), layer[4096..5000]);
        }
    }
    assert_eq!(server.seen("/manifests/").len(), 1);
    assert_eq!(server.seen("/blobs/")[0].range, "bytes=4096-4999");
    let (fault, said) = open(&oci, "app").err().unwrap();
    assert_eq!(fault, Fault::Useless);
    assert!(said.contains("app:1 to app:2"), "{said}");
    let other = format!("sha256:{}", digest_of(b"other"));
    for absent in ["app:0", "app:3", "app:x", "app:", "other", "", &other] {
        let (fault, said) = open(&oci, absent).err().unwrap();
        assert_eq!(fault, Fault::Absent, "{absent}: {said}");
    }
}

#[test]
fn an_image_of_one_layer_has_its_name_and_may_be_named_by_its_digest() {
    let (server, layer) = registry();
    let manifest = server.state().manifests["1"].clone();
    let which = format!("@sha256:{}", digest_of(&manifest));
    let oci = image(&server, &which, &options());
    assert_eq!(
        read(&*open(&oci, "app").unwrap(), 0, 9).unwrap(),
        layer[..9]
    );
}

#[test]
fn a_manifest_of_another_digest_is_refused() {
    let (server, _) = registry();
    let digest = digest_of(b"another manifest");
    let manifest = server.state().manifests["1"].clone();
    let name = format!("sha256:{digest}");
    server.state().manifests.insert(name, manifest);
    let oci = image(&server, &format!("@sha256:{digest}"), &options());
    let (fault, said) = open(&oci, "app").err().unwrap();
    assert_eq!(fault, Fault::Corrupt, "{said}");
}

#[test]
fn of_an_index_of_platforms_this_one_is_taken() {
    let (server, layer) = registry();
    let manifest = server.state().manifests["1"].clone();
    let platform = |arch: &str, digest: &str| {
        let digest = format!(r#""digest":"sha256:{digest}""#);
        format!(r#"{{{digest},"platform":{{"os":"linux","architecture":"{arch}"}}}}"#)
    };
    let other = digest_of(b"other");
    let ours = digest_of(&manifest);
    let both = [
        platform("s390x", &other),
        platform("amd64", &ours),
        platform("arm64", &ours),
    ];
    let index = format!(r#"{{"manifests":[{}]}}"#, both.join(","));
    server.state().manifests.insert("1".into(), index.into());
    let oci = image(&server, ":1", &options());
    assert_eq!(
        read(&*open(&oci, "app").unwrap(), 0, 9).unwrap(),
        layer[..9]
    );
}

#[test]
fn what_is_not_there_is_absent() {
    let (server, layer) = registry();
    let (fault, said) = open(&image(&server, ":2", &options()), "app")
        .err()
        .unwrap();
    assert_eq!(fault, Fault::Absent);
    assert!(
        said.contains("team/app:2: http://127.0.0.1:") && said.contains("answers 404"),
        "{said}"
    );
    // The manifest names a layer that the registry has lost.
    let oci = image(&server, ":1", &options());
    let blob = open(&oci, "app").unwrap();
    server.state().blobs.clear();
    assert_eq!(read(&*blob, 0, 512).unwrap_err().0, Fault::Absent);
    server.put("1", &[&layer]);
    assert_eq!(read(&*blob, 0, 512).unwrap(), layer[..512]);
}

#[test]
fn a_whole_layer_in_place_of_a_range_is_an_error() {
    let (server, layer) = registry();
    let blob = open(&image(&server, ":1", &options()), "app").unwrap();
    server.state().answers = Blobs::Whole;
    for (offset, length) in [(0, 4096), (4096, 4096), (0, layer.len())] {
        let (fault, said) = read(&*blob, offset, length).unwrap_err();
        assert_eq!(fault, Fault::Useless);
        assert!(said.contains("no range requests"), "{said}");
    }
}

#[test]
fn a_layer_of_another_size_than_the_manifest_says_is_an_error() {
    let (server, layer) = registry();
    let blob = open(&image(&server, ":1", &options()), "app").unwrap();
    let longer = [&layer[..], b"x"].concat();
    server.state().blobs.insert(digest_of(&layer), longer);
    assert_eq!(read(&*blob, 0, 512).unwrap_err().0, Fault::Changed);
}

#[test]
fn a_registry_that_is_busy_is_left_alone_for_all_blobs() {
    let server = Server::start();
    let layers = [content(1, 9000), content(2, 5000)];
    server.put("1", &[&layers[0], &layers[1]]);
    let oci = image(&server, ":1", &options());
    let (first, second) = (open(&oci, "app:1").unwrap(), open(&oci, "app:2").unwrap());
    for status in [429, 503] {
        server.state().answers = Blobs::Busy(status, "1");
        let begun = Instant::now();
        let error = first.read_exact_at(&mut [0; 512], 0).unwrap_err();
        assert_eq!(failure(&error).0, Fault::Passing);
        assert_eq!(retry_after(&error), Some(Duration::from_secs(1)));
        server.state().answers = Blobs::Part;
        let asked = server.seen("/blobs/").len();
        let mut failed = 0;
        while let Err(error) = second.read_exact_at(&mut [0; 512], 0) {
            assert_eq!(failure(&error).0, Fault::Passing);
            assert!(retry_after(&error).unwrap() <= Duration::from_secs(1));
            assert_eq!(server.seen("/blobs/").len(), asked, "it was asked");
            failed += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(failed > 0 && begun.elapsed() >= Duration::from_secs(1));
    }
    // One that does not say when is not left alone.
    server.state().answers = Blobs::Busy(503, "soon");
    let error = first.read_exact_at(&mut [0; 512], 0).unwrap_err();
    assert_eq!(retry_after(&error), None);
    server.state().answers = Blobs::Part;
    assert_eq!(read(&*second, 0, 512).unwrap(), layers[1][..512]);
}

#[test]
fn an_index_is_made_of_what_has_the_digest_of_the_manifest_and_nothing_else() {
    let (server, layer) = registry();
    let indexes = tempfile::tempdir().unwrap();
    let options = OciOptions {
        indexes: Some(indexes.path().to_owned()),
        ..options()
    };
    let oci = || image(&server, ":1", &options);
    let make = || write_of_layer(&oci(), b"app", 4096, indexes.path());
    let verified = |which| Verified::new(Box::new(oci()), which, HashMap::new());
    server.state().answers = Blobs::Corrupt;
    let error = format!("{:#}", make().unwrap_err());
    assert!(error.contains("as the manifest says"), "{error}");
    assert_eq!(std::fs::read_dir(indexes.path()).unwrap().count(), 0);
    assert!(
        !verified(Verify::Indexed)
            .open(b"v", b"app")
            .unwrap()
            .is_verified()
    );
    assert!(verified(Verify::Always).open(b"v", b"app").is_err());
    server.state().answers = Blobs::Part;
    let (path, _) = make().unwrap();
    let name = format!("{}.chunks", digest_of(&layer));
    assert_eq!(path, indexes.path().join(name));
    let blob = verified(Verify::Always).open(b"v", b"app").unwrap();
    assert!(blob.is_verified());
    assert_eq!(read(&*blob, 0, 8192).unwrap(), layer[..8192]);
    assert!(blob.identity().contains(" sha256=") && blob.identity().contains(" chunks="));
    server.state().answers = Blobs::Corrupt;
    let (fault, said) = read(&*blob, 49_152, 4096).unwrap_err();
    assert_eq!(fault, Fault::Corrupt, "{said}");
}
