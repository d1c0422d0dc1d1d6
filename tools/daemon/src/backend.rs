// SPDX-License-Identifier: GPL-2.0
//! Where the blobs come from.

pub mod chunks;
mod error;
mod http;
mod local_dir;
pub mod oci;
mod pause;
mod verified;

use std::fmt::Write as _;
use std::io;

pub use error::{Fault, SourceError, errno, may_pass, retry_after, source_error};
pub use http::{BaseUrl, Http, HttpOptions};
pub use local_dir::LocalDir;
pub use oci::{Oci, OciOptions, Reference};
pub use verified::{Verified, Verify};

/// A store of blobs, asked from several threads at once.
pub trait Backend: Send + Sync {
    /// Finds the blob of a cookie key. What [`errno`] makes of the error is what the mounting
    /// process gets to see: `ENOENT` if there is no such blob.
    fn open(&self, volume_key: &[u8], cookie_key: &[u8]) -> io::Result<Box<dyn Blob>>;
}

/// One blob, as it was when it was opened.
pub trait Blob: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Says which content this is, as well as the backend can tell contents apart without reading
    /// them whole: `NAME=VALUE` in one line, blanks in between. `size` is always there; `sha256`,
    /// of the whole content, decides alone where both of two identities have it.
    fn identity(&self) -> String;

    /// What is read begins at a multiple of so many bytes, a power of two, and ends at one or with
    /// the blob.
    fn unit(&self) -> u64 {
        1
    }

    /// Whether what is read is compared with digests.
    fn is_verified(&self) -> bool {
        false
    }

    /// Says that what was read is not what it has to be: if there is another place to have it from,
    /// it is had from there next time.
    fn distrust(&self) {}

    /// Fills `buffer` with the bytes from `offset` on. The caller asks for nothing beyond the size.
    ///
    /// Fails with what [`errno`] makes `ESTALE` of if the blob has another content now than when it
    /// was opened.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Bytes in hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
