// SPDX-License-Identifier: GPL-2.0
//! Making the index of a blob, by which its parts can be verified.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::backend::chunks::{Index, SUFFIX, make};
use crate::backend::hexadecimal;

/// Options of `index`.
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// KiB for which there is a digest each; they are fetched at once. A power of two from 4 to
    /// 1024
    #[arg(long, default_value_t = 256, value_name = "KIB", value_parser = parse_chunk_size)]
    chunk_size: u32,
    /// The blob; its index is put beside it, as FILE.chunks
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
    let (path, digest) = write(&args.file, args.chunk_size << 10)?;
    println!("{digest}  {}", path.display());
    Ok(())
}

/// Writes the index in one step: nobody finds half of one.
fn write(file: &Path, chunk_size: u32) -> Result<(PathBuf, String)> {
    let blob = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let index = make(BufReader::new(blob), chunk_size)
        .with_context(|| format!("reading {}", file.display()))?;
    let digest = hexadecimal(Index::parse(&index)?.digest());
    let with = |suffix: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (path, new) = (with(SUFFIX), with(&format!("{SUFFIX}.new")));
    fs::write(&new, &index)
        .and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok((path, digest))
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
