// SPDX-License-Identifier: GPL-2.0
//! What a registry says that an image consists of.
//!
//! Layers that are an EROFS as they are have one of these media types, without a suffix: those of
//! containerd (`application/vnd.erofs.layer.v1`), of the EROFS image specification
//! (`application/vnd.erofs`), and whatever ends in `.erofs`, as in containerd 2.1.
//! A suffix (`+zstd`) says that the whole of the layer is compressed, and such a one cannot be read
//! in parts. Other layers are left out.

use serde_json::Value;

use super::reference::digest_of;
use crate::backend::error::{Fault, SourceError};

/// What is asked for.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// How large a manifest may be in bytes: as registries have it.
pub const MAX_SIZE: u64 = 4 << 20;

/// A layer that is an EROFS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// SHA-256 of the whole of it, in hexadecimal digits.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What a registry has under a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Document {
    /// An image: its layers that are an EROFS, the lowest one first.
    Image(Vec<Layer>),
    /// One image for each platform: the digest of this machine's.
    Platforms(String),
}

fn useless(message: impl Into<String>) -> SourceError {
    SourceError::new(Fault::Useless, message)
}

/// Whether a layer of that media type is an EROFS that can be read in parts.
fn is_erofs(media_type: &str) -> bool {
    let is_type = media_type == "application/vnd.erofs"
        || media_type.starts_with("application/vnd.erofs.layer")
        || media_type.ends_with(".erofs");
    is_type && !media_type.contains('+')
}

/// Understands a manifest, or an index of manifests.
pub fn parse(bytes: &[u8]) -> Result<Document, SourceError> {
    let document: Value = serde_json::from_slice(bytes)
        .map_err(|error| useless(format!("the manifest of the image is no JSON: {error}")))?;
    if let Some(manifests) = document.get("manifests").and_then(Value::as_array) {
        return platform(manifests, std::env::consts::ARCH).map(Document::Platforms);
    }
    let Some(layers) = document.get("layers").and_then(Value::as_array) else {
        return Err(useless(
            "the registry has something else than an image under this name: no layers",
        ));
    };
    let media_type = |layer: &Value| text(layer, "mediaType").to_owned();
    let erofs = layers.iter().filter(|layer| is_erofs(&media_type(layer)));
    let erofs = erofs.map(layer).collect::<Result<Vec<_>, _>>()?;
    if erofs.is_empty() {
        let mut types: Vec<String> = layers.iter().map(media_type).collect();
        types.dedup();
        let count = types.len();
        let short = |text: &String| text.chars().take(80).collect();
        let types: Vec<String> = types.iter().take(8).map(short).collect();
        let more = if count > types.len() {
            " and others"
        } else {
            ""
        };
        let types = types.join(", ");
        return Err(useless(format!(
            "the image has no layer that is an EROFS (application/vnd.erofs.layer.v1): its layers \
             are {}{more}",
            types.escape_debug()
        )));
    }
    Ok(Document::Image(erofs))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn layer(value: &Value) -> Result<Layer, SourceError> {
    let digest = digest_of(text(value, "digest"));
    let size = value.get("size").and_then(Value::as_u64);
    // The kernel counts the bytes of a file as signed.
    match (digest, size.filter(|size| i64::try_from(*size).is_ok())) {
        (Some(digest), Some(size)) => Ok(Layer { digest, size }),
        _ => Err(useless(
            "the manifest has a layer without a digest (sha256) and a size",
        )),
    }
}

/// The image for this machine; of several, one that says that it is of EROFS.
fn platform(manifests: &[Value], arch: &str) -> Result<String, SourceError> {
    let arch = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let of = |manifest: &Value, key| {
        let platform = manifest.get("platform").unwrap_or(&Value::Null);
        text(platform, key).to_owned()
    };
    let is_ours = |it: &&Value| of(it, "os") == "linux" && of(it, "architecture") == arch;
    let is_of_erofs = |manifest: &Value| {
        let features = manifest.pointer("/platform/os.features");
        let features = features.and_then(Value::as_array).into_iter().flatten();
        features.into_iter().any(|it| it == "erofs")
    };
    let ours: Vec<&Value> = manifests.iter().filter(is_ours).collect();
    let of_erofs = ours.iter().find(|manifest| is_of_erofs(manifest));
    let chosen = of_erofs
        .or_else(|| ours.first())
        .ok_or_else(|| useless(format!("the image is not there for linux/{arch}")))?;
    digest_of(text(chosen, "digest"))
        .ok_or_else(|| useless("the index of the image has no digest (sha256) of it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn layer_of(media_type: &str, digit: char, size: &str) -> String {
        let digest = digest(digit);
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{digest}","size":{size}}}"#)
    }

    fn image(layers: &[String]) -> Result<Vec<Layer>, String> {
        let text = format!(r#"{{"layers":[{}]}}"#, layers.join(","));
        match parse(text.as_bytes()) {
            Ok(Document::Image(layers)) => Ok(layers),
            Ok(Document::Platforms(_)) => panic!("it has layers"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn layers_that_are_an_erofs_are_taken_in_their_order_and_others_left_out() {
        let layers = image(&[
            layer_of("application/vnd.erofs.layer.v1", '1', "5"),
            layer_of("application/vnd.oci.image.layer.v1.tar+gzip", '2', "6"),
            layer_of("application/vnd.erofs", '3', "7"),
            layer_of("application/vnd.oci.image.layer.v1.erofs", '4', "0"),
            layer_of("application/vnd.erofs.layer.v1+zstd", '5', "9"),
            layer_of("application/vnd.erofs.chunk-index", '6', "9"),
        ]);
        let of = |(digit, size)| Layer {
            digest: digest(digit),
            size,
        };
        assert_eq!(layers.unwrap(), [('1', 5), ('3', 7), ('4', 0)].map(of));
    }

    #[test]
    fn an_image_without_such_layers_says_what_it_has() {
        let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
        let error = image(&[layer_of(tar, '1', "5"), layer_of(tar, '2', "5")]).unwrap_err();
        assert!(
            error.contains(&format!("its layers are {tar}")) && !error.contains(&format!("{tar},")),
            "{error}"
        );
    }

    #[test]
    fn a_message_is_short_however_many_and_long_media_types_there_are() {
        let layer = |at: usize| layer_of(&format!("x{at}{}", "y".repeat(500)), '1', "5");
        let layers: Vec<String> = (0..500).map(layer).collect();
        let error = image(&layers).unwrap_err();
        assert!(
            error.len() < 1000 && error.ends_with(" and others"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for size in ["-1", "9223372036854775808", "1.5", "\"5\"", "null"] {
            image(&[layer_of("application/vnd.erofs", '1', size)]).unwrap_err();
        }
        image(&[layer_of("application/vnd.erofs", 'g', "5")]).unwrap_err();
        for text in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"layers":1}"#,
            r#"{"manifests":[]}"#,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn of_several_platforms_it_is_this_machine_s_and_of_erofs_if_there_is_one() {
        let one = |os: &str, arch: &str, more: &str, digit| {
            let digest = digest(digit);
            let platform = format!(r#"{{"os":"{os}","architecture":"{arch}"{more}}}"#);
            format!(r#"{{"digest":"sha256:{digest}","platform":{platform}}}"#)
        };
        let erofs = r#","os.features":["erofs"]"#;
        let all = [
            one("windows", "amd64", "", '1'),
            one("linux", "amd64", "", '2'),
            one("linux", "arm64", "", '3'),
            one("linux", "amd64", erofs, '4'),
        ];
        let chosen = |arch| {
            let text = format!("[{}]", all.join(","));
            let manifests: Vec<Value> = serde_json::from_str(&text).unwrap();
            platform(&manifests, arch).ok()
        };
        assert_eq!(chosen("x86_64"), Some(digest('4')));
        assert_eq!(chosen("aarch64"), Some(digest('3')));
        assert_eq!(chosen("riscv64"), None);
    }
}
