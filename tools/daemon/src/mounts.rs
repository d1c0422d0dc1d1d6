// SPDX-License-Identifier: GPL-2.0
//! Which images are in use.

use std::fs;

/// Where images are mounted that are read on demand, and whose options name this blob if one is
/// given.
pub fn of_images(mounts: &str, key: Option<&str>) -> Vec<String> {
    let names = |options: &str| {
        options
            .split(',')
            .filter_map(|option| option.split_once('='))
            .any(|(name, value)| match key {
                Some(key) => matches!(name, "fsid" | "device") && value == key,
                None => name == "fsid",
            })
    };
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (_, point, kind, options) =
                (words.next()?, words.next()?, words.next()?, words.next()?);
            (kind == "erofs" && names(options)).then(|| point.to_owned())
        })
        .collect()
}

/// The images that use the cache of this tag, in words: where they are mounted, or their names
/// where that is in another mount namespace.
pub fn in_use(tag: &str) -> Vec<String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let volumes = of_volumes(&read("/proc/fs/fscache/volumes"), tag);
    if volumes.is_empty() {
        return volumes;
    }
    match of_images(&read("/proc/mounts"), None) {
        points if points.is_empty() => volumes,
        points => points,
    }
}

/// The names of EROFS's volumes in the cache of this tag, out of fscache's table.
fn of_volumes(table: &str, tag: &str) -> Vec<String> {
    // The column of the cache's name is 15 characters wide, in front of the volume's.
    let column: String = tag.chars().take(15).collect();
    let column = format!(" {column}");
    table
        .lines()
        .filter_map(|line| {
            let (before, name) = line.split_once(" erofs,")?;
            before
                .trim_end()
                .ends_with(&column)
                .then(|| name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "none /a erofs ro,fsid=app 0 0\n\
                          none /b erofs ro,domain_id=d,fsid=x,device=app 0 0\n\
                          none /c erofs ro,fsid=apple 0 0\nnone /d ext4 rw,fsid=app 0 0\n\
                          /dev/loop0 /e erofs ro,relatime 0 0\n";

    #[test]
    fn who_names_the_blob_uses_it() {
        assert_eq!(of_images(MOUNTS, Some("app")), ["/a", "/b"]);
        assert_eq!(of_images(MOUNTS, None), ["/a", "/b", "/c"]);
    }

    #[test]
    fn volumes_of_the_cache_are_those_of_its_tag() {
        let table = "VOLUME   REF   nCOOK ACC FL CACHE           KEY\n\
                     ======== ===== ===== === == =============== ================\n\
                     00000001     2     1   0 00 ondemand        erofs,app\n\
                     00000002     2     1   0 00 CacheFiles      9p,host,share\n\
                     00000003     2     1   0 00 other           erofs,b\n";
        assert_eq!(of_volumes(table, "ondemand"), ["app"]);
        assert_eq!(of_volumes("", "ondemand"), [""; 0]);
        let long = "00000001     2     1   0 00 a tag of many w erofs,app\n";
        assert_eq!(of_volumes(long, "a tag of many words"), ["app"]);
        assert_eq!(of_volumes(long, "tag of many words"), [""; 0]);
    }
}
