// SPDX-License-Identifier: GPL-2.0
//! Which content of each blob the cache holds data of.
//!
//! The kernel knows a blob by its name. A blob that gets another content under the same name would
//! so be served as a mixture of both, for as long as the cache lives. So what a blob was when it
//! was first served is kept in a file beside the cache, and another one of that name is refused.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::seldom::{Seldom, TOLD_EVERY};

/// Name of the folder in the cache directory. The kernel's own are `cache` and `graveyard`.
pub const FOLDER: &str = "identities";

/// The folder of records, one for each blob.
#[derive(Debug)]
pub struct Identities {
    folder: PathBuf,
    turn: Mutex<()>,
    told: Seldom,
}

impl Identities {
    /// Opens the records of a cache directory, and makes the folder if it is missing.
    pub fn new(cache: &Path) -> Result<Self> {
        let folder = cache.join(FOLDER);
        let made = fs::create_dir(&folder).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        });
        made.with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self {
            folder,
            turn: Mutex::default(),
            told: Seldom::new(TOLD_EVERY),
        })
    }

    /// Compares a blob with what was served under its name before, or keeps what it is if there was
    /// nothing. What is kept is on the disk when this returns.
    ///
    /// Fails with `ESTALE` if it is another one, and says so.
    pub fn check(&self, volume: &[u8], cookie: &[u8], identity: &str) -> io::Result<()> {
        let path = self.path(volume, cookie);
        let names = format!("{}/{}", volume.escape_ascii(), cookie.escape_ascii());
        // One at a time: of two that are the first, one has to see the other's.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.keep(&path, &format!("{names}\n{identity}\n"));
            }
            Err(error) => return Err(error),
        };
        let known = String::from_utf8_lossy(&known);
        let known = known.lines().next_back().unwrap_or("unreadable");
        if known == identity || is_same(known, identity) {
            let both = known_of_both(known, identity);
            if both == known {
                return Ok(());
            }
            return self.keep(&path, &format!("{names}\n{both}\n"));
        }
        let cookie = cookie.escape_ascii();
        if self.told.first(
            &format!("refused as another blob: {cookie}"),
            Instant::now(),
        ) {
            tracing::error!(
                "{cookie} is another blob now ({identity}) than the one in the cache ({known}): refused. \
                 Put that one back (name an image of a registry by its digest), or unmount what uses it and run `cachefiles-ondemandd invalidate \
                 --dir DIR {cookie}`"
            );
        }
        Err(Errno::STALE.into())
    }

    /// Logs how often happened what was said once.
    pub fn tell_over(&self, now: Instant) {
        self.told.tell_over(now);
    }

    /// Removes the record of a blob; false if there was none.
    pub fn forget(&self, volume: &[u8], cookie: &[u8]) -> io::Result<bool> {
        match fs::remove_file(self.path(volume, cookie)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn keep(&self, path: &Path, text: &str) -> io::Result<()> {
        // One that a crash left behind is written over.
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Keys may have any byte and any length: the file's name is their digest.
    fn path(&self, volume: &[u8], cookie: &[u8]) -> PathBuf {
        let mut digest = Sha256::new();
        digest.update(volume);
        digest.update([0]);
        digest.update(cookie);
        let mut name = String::new();
        for byte in digest.finalize() {
            // Writing to a string does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        self.folder.join(name)
    }
}

/// The value of a name in an identity.
fn value<'a>(identity: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = identity.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(known, value)| (known == name).then_some(value))
}

/// What is known of the content in the cache once a blob was found to be the same.
///
/// It may say more now than it did then. But where a digest says that it is the same and something
/// else says that it is not, nobody knows of which of the two blobs the digest is. So nothing of
/// the new one is taken over then, and what it denies becomes `?`, which agrees with nothing:
/// otherwise the blob would be accepted without the digest the next time, beside what is cached of
/// the first.
fn known_of_both(known: &str, identity: &str) -> String {
    let mut is_denied = false;
    let mut both: Vec<String> = Vec::new();
    for pair in known.split(' ') {
        let (name, was) = pair.split_once('=').unwrap_or((pair, ""));
        if value(identity, name).is_some_and(|now| now != was) {
            is_denied = true;
            both.push(format!("{name}=?"));
        } else {
            both.push(pair.into());
        }
    }
    if !is_denied {
        let pairs = identity.split(' ');
        let named = pairs.filter_map(|pair| pair.split_once('='));
        let new = named.filter(|(name, _)| value(known, name).is_none());
        both.extend(new.map(|(name, value)| format!("{name}={value}")));
    }
    both.join(" ")
}

/// Whether two identities are of one content: by the digests and sizes if both have digests, else
/// by all that both of them say, of which there has to be something that tells contents apart. The
/// first bytes alone do not.
fn is_same(one: &str, other: &str) -> bool {
    let agrees = |name| match (value(one, name), value(other, name)) {
        (Some(one), Some(other)) => Some(one == other),
        _ => None,
    };
    if agrees("size") != Some(true) {
        return false;
    }
    // The digest of an index says more than one that nobody compares with anything.
    match agrees("chunks").or_else(|| agrees("sha256")) {
        Some(agrees) => agrees,
        // Two sources that say nothing of the same kind are not known to be of one content.
        None => {
            let marks = ["mtime", "sample", "etag", "modified"].map(agrees);
            let parts = ["head", "places"].map(agrees);
            let is_denied = marks.contains(&Some(false)) || parts.contains(&Some(false));
            marks.contains(&Some(true)) && !is_denied
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(result: io::Result<()>) -> Option<Errno> {
        result.err().and_then(|error| Errno::from_io_error(&error))
    }

    #[test]
    fn another_content_of_a_name_is_refused_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identities::new(dir.path()).unwrap();
        first.check(b"v", b"blob", "size=1").unwrap();
        first.check(b"v", b"blob", "size=1").unwrap();
        first.check(b"v", b"other", "size=2").unwrap();
        first.check(b"w", b"blob", "size=3").unwrap();
        // They outlive the process.
        let next = Identities::new(dir.path()).unwrap();
        assert_eq!(
            errno(next.check(b"v", b"blob", "size=2")),
            Some(Errno::STALE)
        );
        next.check(b"v", b"blob", "size=1").unwrap();
        assert!(next.forget(b"v", b"blob").unwrap());
        assert!(!next.forget(b"v", b"blob").unwrap());
        next.check(b"v", b"blob", "size=2").unwrap();
        assert_eq!(
            errno(next.check(b"v", b"blob", "size=1")),
            Some(Errno::STALE)
        );
        assert_eq!(
            errno(next.check(b"w", b"blob", "size=1")),
            Some(Errno::STALE)
        );
    }

    #[test]
    fn a_digest_decides_alone_and_else_all_that_both_say() {
        let same = |one, other| {
            assert_eq!(is_same(one, other), is_same(other, one));
            is_same(one, other)
        };
        assert!(same("size=1 mtime=2 sha256=a", "size=1 mtime=3 sha256=a"));
        assert!(!same("size=1 mtime=2 sha256=a", "size=1 mtime=2 sha256=b"));
        assert!(!same("size=1 mtime=2 sha256=a", "size=2 mtime=2 sha256=a"));
        assert!(same("size=1 mtime=2 sample=x", "size=1 mtime=2 sha256=a"));
        assert!(!same("size=1 mtime=2 sample=x", "size=1 mtime=3 sha256=a"));
        assert!(!same("size=1 mtime=2 sample=x", "size=1 mtime=2 sample=y"));
        // As it was written before there were samples.
        assert!(same("size=1 mtime=2", "size=1 mtime=2 sample=y"));
        assert!(same("size=1 etag=a chunks=x", "size=1 etag=b chunks=x"));
        assert!(!same("size=1 etag=a chunks=x", "size=1 etag=a chunks=y"));
        assert!(!same(
            "size=1 sha256=a chunks=x",
            "size=1 sha256=a chunks=y"
        ));
        // A server's.
        let served = "size=1 etag=\"a\" head=x";
        assert!(!same(served, "size=1 etag=\"b\" head=x"));
        assert!(!same(served, "size=1 etag=\"a\" head=y"));
        assert!(!same(served, "size=1 mtime=2 sample=x"));
        assert!(same(served, "size=1 etag=\"a\" modified=z head=x"));
        let timed = "size=1 modified=z head=x places=p";
        assert!(!same(timed, "size=1 modified=z head=x places=q"));
        // As it was written before more places were looked at.
        assert!(same(timed, "size=1 modified=z head=x"));
        assert!(!same("size=1 places=p", "size=1 places=p"));
        // The server has no ETags any more.
        assert!(!same(served, "size=1 modified=z head=x"));
        assert!(!same("", "size=1") && !same("unreadable", "unreadable too"));
    }

    #[test]
    fn a_record_learns_what_is_known_later() {
        let dir = tempfile::tempdir().unwrap();
        let identities = Identities::new(dir.path()).unwrap();
        let check = |identity| errno(identities.check(b"v", b"blob", identity));
        assert_eq!(check("size=1 mtime=2"), None);
        assert_eq!(check("size=1 mtime=2 sha256=a"), None);
        assert_eq!(check("size=1 mtime=2 sha256=b"), Some(Errno::STALE));
        assert_eq!(check("size=1 mtime=2"), None);
        assert_eq!(check("size=1 mtime=9 sha256=a"), None);
    }

    /// The index, or the file with the digest, stayed when the blob was replaced, and goes later.
    #[test]
    fn a_blob_that_only_a_stale_digest_vouches_for_is_not_accepted_without_it() {
        for digest in ["chunks=i", "sha256=i"] {
            let dir = tempfile::tempdir().unwrap();
            let identities = Identities::new(dir.path()).unwrap();
            let check = |identity: &str| errno(identities.check(b"v", b"blob", identity));
            assert_eq!(check(&format!("size=1 etag=a head=a {digest}")), None);
            for _ in 0..3 {
                assert_eq!(check(&format!("size=1 etag=b head=b {digest}")), None);
                assert_eq!(check("size=1 etag=b head=b"), Some(Errno::STALE));
                assert_eq!(check("size=1 etag=a head=a"), Some(Errno::STALE));
            }
        }
    }

    #[test]
    fn a_digest_that_is_away_once_is_still_known() {
        let dir = tempfile::tempdir().unwrap();
        let identities = Identities::new(dir.path()).unwrap();
        let check = |identity| errno(identities.check(b"v", b"blob", identity));
        assert_eq!(check("size=1 etag=a chunks=i"), None);
        assert_eq!(check("size=1 etag=a"), None);
        assert_eq!(check("size=1 etag=a chunks=j"), Some(Errno::STALE));
    }

    #[test]
    fn a_record_that_was_cut_off_is_no_match() {
        let dir = tempfile::tempdir().unwrap();
        let identities = Identities::new(dir.path()).unwrap();
        identities.check(b"v", b"blob", "size=1").unwrap();
        fs::write(identities.path(b"v", b"blob"), "").unwrap();
        assert_eq!(
            errno(identities.check(b"v", b"blob", "size=1")),
            Some(Errno::STALE)
        );
    }

    #[test]
    fn names_of_any_bytes_and_length_have_records() {
        let dir = tempfile::tempdir().unwrap();
        let identities = Identities::new(dir.path()).unwrap();
        for key in [&b"../up"[..], b"a\nsize=9", &[0xff; 4000], b"a\0b"] {
            identities.check(b"v", key, "size=1").unwrap();
            assert_eq!(
                errno(identities.check(b"v", key, "size=9")),
                Some(Errno::STALE)
            );
        }
    }
}
