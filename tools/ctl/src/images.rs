// SPDX-License-Identifier: GPL-2.0
//! Which images are mounted on demand, and where.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A mount of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where it is.
    pub target: PathBuf,
    /// The name of its first blob.
    pub fsid: String,
    /// What it shares its devices in.
    pub domain: Option<String>,
}

/// The images of this mount namespace.
pub fn mounted(proc: &Path) -> Result<Vec<Image>> {
    let path = proc.join("self/mounts");
    let table = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(of_table(&table))
}

fn of_table(table: &str) -> Vec<Image> {
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (_, target, kind, options) =
                (words.next()?, words.next()?, words.next()?, words.next()?);
            let option = |wanted: &str| {
                let mut pairs = options.split(',').filter_map(|it| it.split_once('='));
                pairs.find_map(|(name, value)| (name == wanted).then(|| plain(value)))
            };
            let fsid = option("fsid").filter(|_| kind == "erofs")?;
            Some(Image {
                target: plain(target).into(),
                fsid,
                domain: option("domain_id"),
            })
        })
        .collect()
}

/// The kernel writes blanks and the like as a backslash and three octal digits.
fn plain(word: &str) -> String {
    let mut pieces = word.split('\\');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let code = piece.get(..3).map(|it| u8::from_str_radix(it, 8));
        if let Some(Ok(byte)) = code {
            bytes.push(byte);
            bytes.extend(piece.bytes().skip(3));
        } else {
            bytes.push(b'\\');
            bytes.extend(piece.bytes());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_from_other_mounts() {
        let table = "none /a\\040b erofs ro,fsid=app 0 0\n\
                     none /b erofs ro,user_xattr,domain_id=d,fsid=x,device=app 0 0\n\
                     none /d ext4 rw,fsid=app 0 0\n/dev/loop0 /e erofs ro,relatime 0 0\n";
        let image = |target: &str, fsid: &str, domain: Option<&str>| Image {
            target: target.into(),
            fsid: fsid.into(),
            domain: domain.map(str::to_owned),
        };
        let wanted = [image("/a b", "app", None), image("/b", "x", Some("d"))];
        assert_eq!(of_table(table), wanted);
        assert_eq!(plain("a\\134x\\9z\\"), "a\\x\\9z\\");
        assert!(mounted(Path::new("/proc")).is_ok());
    }
}
