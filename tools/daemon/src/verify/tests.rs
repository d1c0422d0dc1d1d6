// SPDX-License-Identifier: GPL-2.0
//! Cache files with what may be wrong with them.

use std::cell::Cell;
use std::os::unix::fs::FileExt as _;

use super::*;
use crate::backend::chunks;

const VOLUME: &[u8] = b"erofs,app";

/// A blob of four chunks of two pages, of which the last one is not full.
fn blob() -> Vec<u8> {
    (0..30_000).map(|at| (at % 251) as u8 + 1).collect()
}

fn index() -> Index {
    Index::parse(&chunks::make(&*blob(), 8192).unwrap()).unwrap()
}

/// A cache that has these pages of it.
fn cache(pages: &[u64]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(key_path(VOLUME, b"app"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(&path).unwrap();
    file.set_len(32_768).unwrap();
    let mut content = blob();
    content.resize(32_768, 0);
    for page in pages {
        let at = usize::try_from(page * 4096).unwrap();
        file.write_all_at(&content[at..at + 4096], page * 4096)
            .unwrap();
    }
    (dir, path)
}

fn idle(_: &[u8], _: &Path, _: &OsStr) -> Result<bool> {
    Ok(false)
}

fn damage(path: &Path, at: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0], at).unwrap();
}

/// The pages that are there, by what can be read of them: no byte of the blob is zero.
fn pages(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    let pages = bytes.chunks(4096).enumerate();
    let there = pages.filter(|(_, page)| page.iter().any(|&byte| byte != 0));
    there.map(|(at, _)| at).collect()
}

#[test]
fn what_is_right_stays_and_what_is_wrong_goes() {
    let (dir, path) = cache(&[0, 1, 2, 3, 6, 7]);
    let all = Counts {
        right: 3,
        absent: 1,
        ..Counts::default()
    };
    assert_eq!(verify(dir.path(), "app", &index(), &idle).unwrap(), all);
    assert_eq!(pages(&path), [0, 1, 2, 3, 6, 7]);
    damage(&path, 9000);
    let one = Counts {
        right: 2,
        wrong: 1,
        absent: 1,
        ..Counts::default()
    };
    assert_eq!(verify(dir.path(), "app", &index(), &idle).unwrap(), one);
    assert_eq!(pages(&path), [0, 1, 6, 7]);
    assert_eq!(path.metadata().unwrap().len(), 32_768);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    // Now that it is a hole it is not wrong any more.
    let rest = verify(dir.path(), "app", &index(), &idle).unwrap();
    assert_eq!((rest.wrong, rest.absent), (0, 2));
}

#[test]
fn a_chunk_that_is_there_in_part_and_what_lies_behind_the_end_are_looked_at() {
    let (dir, path) = cache(&[0, 3, 6, 7]);
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[9], 30_001).unwrap();
    let counts = verify(dir.path(), "app", &index(), &idle).unwrap();
    let wanted = Counts {
        wrong: 1,
        in_part: 2,
        absent: 1,
        ..Counts::default()
    };
    assert_eq!(counts, wanted);
    assert_eq!(pages(&path), [0; 0]);
}

#[test]
fn what_is_in_use_is_not_touched() {
    let (dir, path) = cache(&[0, 1]);
    damage(&path, 5);
    let before = fs::read(&path).unwrap();
    let asked = Cell::new(0);
    // From the beginning, or since it was asked for the first time.
    for used_from in [1, 2] {
        asked.set(0);
        let in_use = |_: &[u8], _: &Path, _: &OsStr| {
            asked.set(asked.get() + 1);
            Ok(asked.get() >= used_from)
        };
        let error = verify(dir.path(), "app", &index(), &in_use).unwrap_err();
        assert!(error.to_string().contains("is in use"), "{error}");
        assert_eq!(asked.get(), used_from);
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn one_that_was_made_anew_meanwhile_is_left_alone() {
    let (dir, path) = cache(&[0, 1]);
    damage(&path, 5);
    let in_use = |_: &[u8], _: &Path, name: &OsStr| {
        if name.as_bytes().starts_with(ASIDE) {
            fs::write(&path, "another").unwrap();
        }
        Ok(false)
    };
    verify(dir.path(), "app", &index(), &in_use).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"another");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn what_one_that_was_killed_has_left_is_put_back() {
    let (dir, path) = cache(&[0, 1]);
    fs::rename(&path, aside(&path)).unwrap();
    let counts = verify(dir.path(), "app", &index(), &idle).unwrap();
    assert_eq!((counts.right, pages(&path)), (1, vec![0, 1]));
}

#[test]
fn what_cannot_be_verified_is_an_error() {
    let (dir, path) = cache(&[0]);
    let error = |dir: &Path, key| format!("{:#}", verify(dir, key, &index(), &idle).unwrap_err());
    assert!(error(dir.path(), "other").contains("nothing is cached of other"));
    assert!(error(&dir.path().join("cache"), "app").contains("no cache directory"));
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(65_536)
        .unwrap();
    assert!(error(dir.path(), "app").contains("`invalidate` removes it"));
    assert!(path.exists());
    let other = File::open(dir.path()).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    assert!(error(dir.path(), "app").contains("another `verify`"));
}

#[test]
fn without_a_daemon_the_table_of_volumes_says_what_is_in_use() {
    let table = "VOLUME   REF   nCOOK ACC FL CACHE           KEY\n\
                 00000001     2     1   0 00 ondemand        erofs,app\n";
    assert!(has_volume(table, b"erofs,app"));
    for other in [&b"erofs,ap"[..], b"erofs,app2", b"app"] {
        assert!(!has_volume(table, other));
    }
    // Each time anew: it may have been mounted since.
    let file = tempfile::NamedTempFile::new().unwrap();
    let users = Users::Table(file.path().to_owned());
    let have = || users.have(VOLUME, Path::new("/"), OsStr::new("x")).unwrap();
    assert!(!have());
    fs::write(file.path(), table).unwrap();
    assert!(have());
    assert!(!lists(Path::new("/absent"), VOLUME).unwrap());
}
