// SPDX-License-Identifier: GPL-2.0
//! The list of files and their checksums, in the format of `sha256sum`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// A SHA-256 checksum.
pub type Digest = [u8; 32];

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path relative to the root of the image.
    pub path: PathBuf,
    /// What its content adds up to.
    pub digest: Digest,
}

/// Reads a manifest; one without files is an error, as a run that checks nothing must not pass.
pub fn load(path: &Path) -> Result<Vec<Entry>> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("cannot read the manifest {}", path.display()))?;
    let lines = bytes
        .split(|&byte| byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty());
    let entries = lines
        .map(|(index, line)| {
            parse(line).with_context(|| format!("{}, line {}", path.display(), index + 1))
        })
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        !entries.is_empty(),
        "the manifest {} names no file",
        path.display()
    );
    Ok(entries)
}

/// One line: 64 hex digits, a blank, a blank or an asterisk, the path. A backslash in front says
/// that backslashes and line ends in the path are escaped.
fn parse(line: &[u8]) -> Result<Entry> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (hex, rest) = line
        .split_at_checked(64)
        .context("line too short for a checksum")?;
    let name = rest
        .strip_prefix(b"  ")
        .or_else(|| rest.strip_prefix(b" *"))
        .context("no path behind the checksum")?;
    let name = if escaped {
        unescape(name)?
    } else {
        name.to_vec()
    };
    let path = Path::new(&OsString::from_vec(name))
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    let path: PathBuf = path;
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    ensure!(
        plain && path.components().next().is_some(),
        "the path {} leads out of the image",
        path.display()
    );
    Ok(Entry {
        path,
        digest: decode(hex)?,
    })
}

fn unescape(name: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = name.iter();
    let mut plain = Vec::with_capacity(name.len());
    while let Some(&byte) = bytes.next() {
        plain.push(match (byte, byte == b'\\') {
            (byte, false) => byte,
            (_, true) => match bytes.next() {
                Some(b'\\') => b'\\',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                _ => bail!("bad escape in the path"),
            },
        });
    }
    Ok(plain)
}

fn decode(hex: &[u8]) -> Result<Digest> {
    let digits = std::str::from_utf8(hex)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let digits = digits.context("the checksum is not hexadecimal")?;
    let mut digest = Digest::default();
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(
            digits
                .get(2 * index..2 * index + 2)
                .context("checksum too short")?,
            16,
        )?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

    fn parse_path(line: &str) -> Result<String> {
        Ok(parse(line.replace('#', HEX).as_bytes())?
            .path
            .to_str()
            .unwrap()
            .to_owned())
    }

    #[test]
    fn lines_of_sha256sum_are_understood() {
        let entry = parse(format!("{HEX}  ./dir/file name").as_bytes()).unwrap();
        assert_eq!(entry.path, Path::new("dir/file name"));
        assert_eq!(
            (entry.digest[0], entry.digest[30], entry.digest[31]),
            (0, 30, 255)
        );
        assert_eq!(parse_path("# *binary").unwrap(), "binary");
        assert_eq!(parse_path("\\#  a\\\\b\\nc").unwrap(), "a\\b\nc");
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "#",
            "# name",
            "00  name",
            "#  ../up",
            "#  /etc/passwd",
            "#  .",
            "\\#  a\\b",
        ] {
            assert!(parse_path(line).is_err(), "{line:?}");
        }
        assert!(parse(format!("{}g  x", &HEX[1..]).as_bytes()).is_err());
        assert!(parse(format!("+{}  x", &HEX[1..]).as_bytes()).is_err());
    }

    #[test]
    fn an_empty_manifest_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\n").unwrap();
        assert!(load(file.path()).is_err());
        std::fs::write(file.path(), format!("{HEX}  x\n{HEX}  y\n")).unwrap();
        assert_eq!(load(file.path()).unwrap().len(), 2);
    }
}
