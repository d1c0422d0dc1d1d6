// SPDX-License-Identifier: GPL-2.0
//! What the hostile daemons serve. Only what is theirs to spoil may be spoilt: each image keeps its
//! metadata and most files where nobody writes anything but the right bytes, so that every byte a
//! reader gets of them can be compared; the rest of the data lies on a device of junk.

use std::sync::Arc;

use cachefiles_harness::image::{BLOCK, Builder, Image, pattern};
use cachefiles_harness::lz4::compressible;
use cachefiles_harness::session::Blobs;

/// How many images there are.
pub const IMAGES: usize = 3;

/// Under how many names each is served. A new name is a cold cache.
pub const NAMES: usize = 24;

/// How many mounters can have names of their own.
const SHARES: u64 = 4;

/// The names that are the own ones of the process of this number, among the mounters: they are
/// started one after the other.
pub fn own_names(number: u64) -> impl Iterator<Item = usize> {
    (0..NAMES).filter(move |name| *name as u64 % SHARES == number % SHARES)
}

/// Domains that images can share their blobs in; none is one of them.
pub const DOMAINS: &[Option<&str>] = &[None, None, Some("near"), Some("far")];

/// All images.
pub struct Images {
    images: Vec<Image>,
}

impl Images {
    /// The same ones in every process.
    pub fn make() -> Self {
        Self {
            images: (0..IMAGES).map(image).collect(),
        }
    }

    /// What is to be found in image `number`.
    pub fn image(&self, number: usize) -> Option<&Image> {
        self.images.get(number)
    }

    /// The content of the blob that a cookie key names.
    pub fn blob(&self, key: &[u8]) -> Option<&[u8]> {
        let (kind, number) = parse(key)?;
        let image = self.images.get(number)?;
        match kind {
            "image" => Some(&image.primary),
            "sure" => image.blobs.first().map(|(_, data)| data.as_slice()),
            "junk" => image.blobs.get(1).map(|(_, data)| data.as_slice()),
            _ => None,
        }
    }

    /// The right bytes of a range, zeros behind the end of the blob.
    pub fn content(&self, key: &[u8], off: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let blob = self.blob(key).unwrap_or_default();
        let from = usize::try_from(off).ok().and_then(|off| blob.get(off..));
        for (to, byte) in bytes.iter_mut().zip(from.unwrap_or_default()) {
            *to = *byte;
        }
        bytes
    }

    /// The blobs of all images under all their names, for a daemon that is good.
    pub fn blobs(&self) -> Blobs {
        let mut blobs = Blobs::new();
        for (number, image) in self.images.iter().enumerate() {
            let primary = Arc::new(image.primary.clone());
            for name in 0..NAMES {
                blobs.insert(fsid(number, name).into_bytes(), Arc::clone(&primary));
            }
            for (key, data) in &image.blobs {
                blobs.insert(key.clone(), Arc::new(data.clone()));
            }
        }
        blobs
    }
}

/// The file system id of an image under one of its names.
pub fn fsid(number: usize, name: usize) -> String {
    format!("image-{number}.{name}")
}

/// Whether anybody may write what he likes to the blob of this key.
pub fn is_junk(key: &[u8]) -> bool {
    key.starts_with(b"junk")
}

/// Whether the bytes of this file are to be compared.
pub fn is_sure(file: &str) -> bool {
    !file.starts_with("junk")
}

/// Whether this file is compressed.
pub fn is_packed(file: &str) -> bool {
    file.starts_with("packed")
}

fn parse(key: &[u8]) -> Option<(&str, usize)> {
    let (kind, number) = std::str::from_utf8(key).ok()?.split_once('-')?;
    let number = number.split('.').next()?.parse().ok()?;
    Some((kind, number))
}

fn image(number: usize) -> Image {
    let data = |file: usize, length| pattern((16 * number + file) as u32, length);
    Builder::new()
        .device(format!("sure-{number}"))
        .device(format!("junk-{number}"))
        .plain("plain", data(1, 9 * BLOCK - 100))
        .inline("tail", data(2, 3 * BLOCK + 77))
        .compressed("packed", compressible(number as u32, 33 * BLOCK + 300))
        .compressed("packed-small", compressible(number as u32 + 8, 5000))
        .chunked("sure", data(3, 24 * BLOCK), 4, &[Some(1)])
        .chunked("sure-small", data(4, 6 * BLOCK), 1, &[Some(1), Some(0)])
        .chunked("sure-far", data(5, 40 * BLOCK), 8, &[Some(1)])
        .chunked("junk", data(6, 24 * BLOCK), 4, &[Some(2)])
        .chunked("junk-in-part", data(7, 8 * BLOCK), 1, &[Some(1), Some(2)])
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_an_image_has_its_content() {
        let images = Images::make();
        let image = images.image(1).unwrap();
        assert_eq!(images.blob(b"image-1.5"), Some(&image.primary[..]));
        for (key, data) in &image.blobs {
            assert_eq!(images.blob(key), Some(&data[..]));
        }
        assert_eq!(images.blob(b"image-9.0"), None);
        assert_eq!(images.blob(b"nonsense"), None);
    }

    #[test]
    fn content_behind_the_end_is_zeros() {
        let images = Images::make();
        let end = images.blob(b"sure-0").unwrap().len() as u64;
        assert_eq!(images.content(b"sure-0", end + 4096, 16), [0; 16]);
        assert_ne!(images.content(b"sure-0", 0, 16), [0; 16]);
    }

    #[test]
    fn junk_touches_no_file_that_is_compared() {
        let images = Images::make();
        let image = images.image(0).unwrap();
        let (key, junk) = &image.blobs[1];
        assert!(is_junk(key));
        for (name, data) in image.files.iter().filter(|(name, _)| is_sure(name)) {
            let block = &data[..16];
            assert!(
                !junk.chunks(BLOCK).any(|chunk| &chunk[..16] == block),
                "{name}"
            );
        }
    }
}
