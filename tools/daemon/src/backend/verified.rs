// SPDX-License-Identifier: GPL-2.0
//! Blobs whose every chunk is compared with its digest before anybody gets it.

use std::collections::HashMap;
use std::fmt;
use std::io;

use cachefiles_protocol::Errno;

use super::chunks::{Digest, Index, MAX_SIZE, SUFFIX};
use super::error::{Fault, SourceError, source_error};
use super::{Backend, Blob};

/// How much of an index is asked for at a time.
const PIECE: usize = 1 << 20;

/// When blobs are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Verify {
    /// Those that have an index
    Indexed,
    /// All: a blob without an index is refused
    Always,
    /// Only those whose index has a known digest
    Known,
}

impl fmt::Display for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Indexed => "verified where there is an index",
            Self::Always => "always verified",
            Self::Known => "verified where the digest of the index is known",
        })
    }
}

/// A source whose blobs are verified.
pub struct Verified {
    source: Box<dyn Backend>,
    verify: Verify,
    /// The digests of indexes, by the names of their blobs.
    known: HashMap<Vec<u8>, Digest>,
}

impl Verified {
    /// Verifies what comes from a source. An index whose digest is known has to have that.
    pub fn new(source: Box<dyn Backend>, verify: Verify, known: HashMap<Vec<u8>, Digest>) -> Self {
        Self {
            source,
            verify,
            known,
        }
    }

    /// The index of a blob; `None` if there is none and none is wanted.
    pub fn index(&self, volume_key: &[u8], cookie_key: &[u8]) -> io::Result<Option<Index>> {
        let known = self.known.get(cookie_key);
        if self.verify == Verify::Known && known.is_none() {
            return Ok(None);
        }
        let is_wanted = self.verify == Verify::Always || known.is_some();
        let name = [cookie_key, SUFFIX.as_bytes()].concat();
        let blob = match self.source.open(volume_key, &name) {
            Ok(blob) => blob,
            Err(error) if is_absent(&error) => {
                let message = "the blob has no index, by which it could be verified";
                return match is_wanted {
                    true => Err(SourceError::new(Fault::Denied, message).into()),
                    false => Ok(None),
                };
            }
            Err(error) => return Err(error),
        };
        let index = Index::parse(&read_all(&*blob)?)?;
        if known.is_some_and(|known| known != index.digest()) {
            let message = "the index of the blob is not the one whose digest is given";
            return Err(SourceError::new(Fault::Corrupt, message).into());
        }
        Ok(Some(index))
    }
}

/// Whether there is no such thing. Stores that do not tell what they have answer that it is denied.
fn is_absent(error: &io::Error) -> bool {
    match source_error(error) {
        Some(error) => matches!(error.fault(), Fault::Absent | Fault::Denied),
        None => error.kind() == io::ErrorKind::NotFound,
    }
}

fn read_all(blob: &dyn Blob) -> io::Result<Vec<u8>> {
    if blob.size() > MAX_SIZE {
        let message = format!("the index has {} bytes: too many", blob.size());
        return Err(SourceError::new(Fault::Useless, message).into());
    }
    let mut bytes = vec![0; usize::try_from(blob.size()).map_err(|_| Errno::OVERFLOW)?];
    let mut offset = 0;
    for piece in bytes.chunks_mut(PIECE) {
        blob.read_exact_at(piece, offset)?;
        offset += u64::try_from(piece.len()).map_err(|_| Errno::OVERFLOW)?;
    }
    Ok(bytes)
}

impl Backend for Verified {
    fn open(&self, volume_key: &[u8], cookie_key: &[u8]) -> io::Result<Box<dyn Blob>> {
        // First: what is not there is to be that, and not without an index.
        let blob = self.source.open(volume_key, cookie_key)?;
        let Some(index) = self.index(volume_key, cookie_key)? else {
            return Ok(blob);
        };
        if index.size() != blob.size() {
            let message = format!(
                "the blob has {} bytes, and {} by its index: is it complete?",
                blob.size(),
                index.size()
            );
            return Err(SourceError::new(Fault::Corrupt, message).into());
        }
        Ok(Box::new(VerifiedBlob { blob, index }))
    }
}

/// A blob and its index.
struct VerifiedBlob {
    blob: Box<dyn Blob>,
    index: Index,
}

impl Blob for VerifiedBlob {
    fn size(&self) -> u64 {
        self.blob.size()
    }

    fn identity(&self) -> String {
        let digest = super::hexadecimal(self.index.digest());
        format!("{} chunks={digest}", self.blob.identity())
    }

    fn unit(&self) -> u64 {
        self.index.chunk_size()
    }

    fn is_verified(&self) -> bool {
        true
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.blob.read_exact_at(buffer, offset)?;
        let verified = self.index.verify(buffer, offset);
        if verified.is_err() {
            self.blob.distrust();
        }
        Ok(verified?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::{LocalDir, chunks, errno};
    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    fn put(dir: &Path, blob: &[u8]) -> Digest {
        let index = chunks::make(blob, 4096).unwrap();
        fs::write(dir.join("blob"), blob).unwrap();
        fs::write(dir.join("blob.chunks"), &index).unwrap();
        *Index::parse(&index).unwrap().digest()
    }

    fn open(dir: &Path, verify: Verify, known: Option<Digest>) -> io::Result<Box<dyn Blob>> {
        let source = Box::new(LocalDir::new(dir).unwrap());
        let known = known.map(|digest| (b"blob".to_vec(), digest));
        Verified::new(source, verify, known.into_iter().collect()).open(b"v", b"blob")
    }

    #[test]
    fn a_chunk_that_is_wrong_is_not_given_and_others_are() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = content(10_000);
        put(dir.path(), &bytes);
        let whole = bytes.clone();
        bytes[5000] ^= 1;
        fs::write(dir.path().join("blob"), &bytes).unwrap();
        let blob = open(dir.path(), Verify::Indexed, None).unwrap();
        assert!(blob.is_verified());
        assert_eq!(blob.unit(), 4096);
        let mut buffer = [0; 4096];
        blob.read_exact_at(&mut buffer, 0).unwrap();
        assert_eq!(buffer, whole[..4096]);
        let error = blob.read_exact_at(&mut buffer, 4096).unwrap_err();
        assert_eq!(source_error(&error).unwrap().fault(), Fault::Corrupt);
        blob.read_exact_at(&mut buffer[..1808], 8192).unwrap();
    }

    #[test]
    fn when_an_index_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let digest = put(dir.path(), &content(10_000));
        let is_verified = |verify, known| {
            let opened = open(dir.path(), verify, known);
            opened
                .map(|blob| blob.is_verified())
                .map_err(|error| errno(&error))
        };
        let other = Some([0; 32]);
        assert_eq!(is_verified(Verify::Indexed, None), Ok(true));
        assert_eq!(is_verified(Verify::Always, None), Ok(true));
        assert_eq!(is_verified(Verify::Known, None), Ok(false));
        for verify in [Verify::Indexed, Verify::Always, Verify::Known] {
            assert_eq!(is_verified(verify, Some(digest)), Ok(true));
            assert_eq!(is_verified(verify, other), Err(Some(Errno::IO)));
        }
        fs::remove_file(dir.path().join("blob.chunks")).unwrap();
        assert_eq!(is_verified(Verify::Indexed, None), Ok(false));
        assert_eq!(is_verified(Verify::Known, None), Ok(false));
        assert_eq!(is_verified(Verify::Always, None), Err(Some(Errno::ACCESS)));
        assert_eq!(
            is_verified(Verify::Known, Some(digest)),
            Err(Some(Errno::ACCESS))
        );
        fs::remove_file(dir.path().join("blob")).unwrap();
        assert_eq!(is_verified(Verify::Always, None), Err(Some(Errno::NOENT)));
    }

    #[test]
    fn an_index_of_another_blob_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), &content(10_000));
        fs::write(dir.path().join("blob"), content(9_999)).unwrap();
        assert!(open(dir.path(), Verify::Indexed, None).is_err());
        fs::write(dir.path().join("blob.chunks"), b"CFCHUNKS").unwrap();
        assert!(open(dir.path(), Verify::Indexed, None).is_err());
    }

    #[test]
    fn its_identity_has_the_digest_of_its_index() {
        let dir = tempfile::tempdir().unwrap();
        let digest = put(dir.path(), &content(10_000));
        let identity = open(dir.path(), Verify::Indexed, None).unwrap().identity();
        let wanted = format!(" chunks={}", super::super::hexadecimal(&digest));
        assert!(identity.ends_with(&wanted), "{identity}");
    }
}
