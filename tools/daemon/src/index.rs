// SPDX-License-Identifier: GPL-2.0
//! Making the index of a blob, by which its parts can be verified.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::backend::chunks::{Index, SUFFIX, make};
use crate::backend::{Blob, Oci, hexadecimal, may_pass, retry_after};
use crate::images::ImageArgs;
use crate::serve::Policy;
use crate::source::ServerArgs;

/// How much of a blob of a registry is asked for at once.
const PIECE: usize = 1 << 20;

/// The longest wait for a registry that says how long it wants to be left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Options of `index`.
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// File with options like these, in TOML: those that are given take the place of its own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    server: ServerArgs,
    /// KiB for which there is a digest each; they are fetched at once. A power of two from 4 to
    /// 1024
    #[arg(long, default_value_t = 256, value_name = "KIB", value_parser = parse_chunk_size)]
    chunk_size: u32,
    /// The blob; its index is put beside it, as FILE.chunks. With --image the name of a layer,
    /// which is fetched as a whole, and whose index is put into --indexes
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

fn parse_chunk_size(text: &str) -> Result<u32, String> {
    let size: u32 = text.parse().map_err(|_| "a number is wanted".to_owned())?;
    let is_size = size.is_power_of_two() && (4..=1024).contains(&size);
    is_size
        .then_some(size)
        .ok_or_else(|| "a power of two from 4 to 1024 is wanted".into())
}

/// Makes the index, and prints its digest and name.
pub fn run(args: &IndexArgs) -> Result<()> {
    let chunk_size = args.chunk_size << 10;
    let (path, digest) = match args.images.image.is_empty() {
        true => write(&args.file, chunk_size)?,
        false => {
            let source = args.images.open(args.server.options(1, Duration::MAX))?;
            let indexes = args.images.indexes.as_deref();
            let indexes = indexes.context("give the directory of indexes (--indexes)")?;
            let key = args.file.as_os_str().as_encoded_bytes();
            write_of_layer(&source, key, chunk_size, indexes)?
        }
    };
    println!("{digest}  {}", path.display());
    Ok(())
}

/// Writes the index of a file.
fn write(file: &Path, chunk_size: u32) -> Result<(PathBuf, String)> {
    let blob = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let index = make(BufReader::new(blob), chunk_size)
        .with_context(|| format!("reading {}", file.display()))?;
    put(with_suffix(file, SUFFIX), &index)
}

/// Fetches a layer, and writes its index, if the layer has the digest that the manifest names.
pub fn write_of_layer(
    source: &Oci,
    key: &[u8],
    chunk_size: u32,
    indexes: &Path,
) -> Result<(PathBuf, String)> {
    let name = key.escape_ascii();
    let blob = source
        .layer(key)
        .with_context(|| format!("looking for {name}"))?;
    let mut whole = Whole {
        blob: &blob,
        at: 0,
        piece: Vec::new(),
        used: 0,
        digest: Sha256::new(),
    };
    let index = make(&mut whole, chunk_size).with_context(|| format!("fetching {name}"))?;
    let (is, named) = (hexadecimal(&whole.digest.finalize()), blob.digest());
    ensure!(
        is == named,
        "{name} has the digest sha256:{is}, and not sha256:{named} as the manifest says: no index \
         is made of it"
    );
    let made = put(indexes.join(Oci::index_name(named)), &index)?;
    tracing::info!(
        "{name}: all {} bytes have the digest that the manifest names, sha256:{named}",
        blob.size()
    );
    Ok(made)
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes an index in one step: nobody finds half of one.
fn put(path: PathBuf, index: &[u8]) -> Result<(PathBuf, String)> {
    let digest = hexadecimal(Index::parse(index)?.digest());
    let new = with_suffix(&path, ".new");
    fs::write(&new, index)
        .and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok((path, digest))
}

/// A blob that is fetched piece by piece from its beginning to its end.
struct Whole<'a> {
    blob: &'a dyn Blob,
    at: u64,
    piece: Vec<u8>,
    used: usize,
    digest: Sha256,
}

impl Whole<'_> {
    /// Fetches the next piece; an empty one at the end.
    fn fetch(&mut self) -> io::Result<()> {
        let left = self.blob.size().saturating_sub(self.at);
        let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        self.piece.resize(length, 0);
        self.used = 0;
        let (policy, mut failures) = (Policy::REMOTE, 0);
        while let Err(error) = self.blob.read_exact_at(&mut self.piece, self.at) {
            failures += 1;
            if !may_pass(&error) || failures >= policy.tries {
                return Err(error);
            }
            let wanted = retry_after(&error).unwrap_or_default().min(LONGEST_WAIT);
            std::thread::sleep(policy.wait(failures).max(wanted));
        }
        self.digest.update(&self.piece);
        self.at += u64::try_from(length).map_err(io::Error::other)?;
        Ok(())
    }
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.piece.len() {
            self.fetch()?;
        }
        let left = self.piece.get(self.used..).unwrap_or_default();
        let length = left.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), left.get(..length)) {
            to.copy_from_slice(from);
        }
        self.used += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_lies_beside_the_blob() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.b");
        fs::write(&file, [7; 10_000]).unwrap();
        let (path, digest) = write(&file, 8192).unwrap();
        assert_eq!(path, dir.path().join("a.b.chunks"));
        let index = Index::parse(&fs::read(path).unwrap()).unwrap();
        assert_eq!(hexadecimal(index.digest()), digest);
        assert_eq!((index.size(), index.chunk_size()), (10_000, 8192));
        index.verify(&[7; 10_000], 0).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(write(&dir.path().join("absent"), 4096).is_err());
        assert_eq!(parse_chunk_size("256"), Ok(256));
        for text in ["0", "2", "5", "2048", "x", "-4"] {
            assert!(parse_chunk_size(text).is_err());
        }
    }
}
