// SPDX-License-Identifier: GPL-2.0
//! What lies in the cache directory afterwards: names, attributes, data. Production daemons compute
//! the names, and the two modules take over each other's caches.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Errno, key_path};

use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Module, Test, test};
use crate::session::{Session, blobs_of};
use crate::sys;

pub const TESTS: &[Test] = &[
    test!(
        cache_files_have_the_known_names,
        "production daemons compute the names"
    ),
    test!(
        names_of_odd_volumes_and_keys_are_the_computed_ones,
        "every encoding of a key"
    ),
    test!(
        cache_files_have_the_known_attributes_and_modes,
        "the layout of the attribute"
    ),
    test!(
        cache_file_holds_the_data_at_its_offset,
        "daemons look at the files themselves"
    ),
    test!(
        cache_of_the_other_module_is_used_warm,
        "a machine can change to the module under test"
    ),
    test!(
        cache_of_this_module_is_used_warm_by_the_other,
        "a machine can change back"
    ),
    test!(
        fresh_mount_makes_only_the_directories_it_needs,
        "FAULTS 16: a mount does not make and pin 256 directories"
    )
    .c_fails("all 256 are made at first use"),
    test!(
        cache_with_all_its_directories_is_used_warm,
        "FAULTS 16: a cache of the C module has all 256 directories"
    ),
    test!(
        keys_of_any_length_are_stored_or_refused,
        "a long key is an error, not a crash"
    )
    .c_skips("keys of 253 bytes and more run into a BUG_ON"),
];

/// Every regular file under the cache directory's store, relative to the cache directory.
fn stored_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut dirs = vec![Path::new(sys::CACHE).join("cache")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else {
                files.push(entry.path().strip_prefix(sys::CACHE)?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// An image with a file on each of several devices, named by mount options.
fn image_over(count: usize) -> Image {
    let mut builder = Builder::new().plain("own", pattern(99, BLOCK));
    for number in 0..count {
        builder = builder.device(format!("tag-{number}"));
    }
    for number in 0..count {
        let place = Some(number as u16 + 1);
        let data = pattern(number as u32, 2 * BLOCK);
        builder = builder.chunked(&format!("{number}"), data, 2, &[place]);
    }
    builder.build()
}

/// Fills the cache from an image whose devices have the given keys.
fn fill(session: &mut Session, ctx: &Context, fsid: &[u8], keys: &[&[u8]]) -> Result<()> {
    let image = image_over(keys.len());
    let primary = std::sync::Arc::new(image.primary.clone());
    session.blobs.insert(fsid.to_vec(), primary);
    let mut options = [b"fsid=".as_slice(), fsid].concat();
    for (key, (_, data)) in keys.iter().zip(&image.blobs) {
        session
            .blobs
            .insert(key.to_vec(), std::sync::Arc::new(data.clone()));
        options.extend_from_slice(b",device=");
        options.extend_from_slice(key);
    }
    let mount = session.mount(&ctx.mount_point("disk"), &options)?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn cache_files_have_the_known_names(ctx: &Context) -> Result<()> {
    // Seen with the C module: printable, big-endian words, little-endian words, base 64.
    let keys: [&[u8]; 5] = [
        b"sha256:0123456789abcdef",
        b"\x01\x02\x03\x04",
        b"\x01\x01",
        b"\x01 \x01",
        b"\x81\x82\x83\x84\x85\x86\x87\x88 long",
    ];
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    fill(&mut session, ctx, b"golden", &keys)?;
    let mut expected: Vec<PathBuf> = GOLDEN
        .iter()
        .map(|name| Path::new("cache/Ierofs,golden").join(name))
        .collect();
    expected.sort();
    let seen = stored_files()?;
    ensure!(seen == expected, "stored are {seen:?}");
    Ok(())
}

const GOLDEN: &[&str] = &[
    "@3d/Dgolden",
    "@c6/Dsha256:0123456789abcdef",
    "@a9/S1020304",
    "@5b/T101",
    "@09/E010i0",
    "@75/E21aUw4mEx7y88IZCrD100",
];

fn names_of_odd_volumes_and_keys_are_the_computed_ones(ctx: &Context) -> Result<()> {
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    let mut expected = Vec::new();
    let keys: Vec<Vec<u8>> = vec![
        b"a/b/c".to_vec(),
        b"~tilde-and\x7fdelete".to_vec(),
        b"two words".to_vec(),
        b"\xff\xfe\xfd\xfc".to_vec(),
        b"\x01".to_vec(),
        (1..=40).map(|byte| byte ^ 0x80).collect(),
        (1..=61).map(|byte| byte | 0x80).collect(),
        (1..=62).map(|byte| byte | 0x80).collect(),
        [b"x".repeat(63), b" ".to_vec()].concat(),
        b"k".repeat(200),
    ];
    for fsid in [
        b"plain".as_slice(),
        b"with blank",
        b"\xc3\xa9t\xc3\xa9",
        &b"v".repeat(120),
    ] {
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        fill(&mut session, ctx, fsid, &keys)
            .with_context(|| String::from_utf8_lossy(fsid).into_owned())?;
        let volume = [b"erofs,", fsid].concat();
        expected.extend(keys.iter().map(|key| key_path(&volume, key)));
        expected.push(key_path(&volume, fsid));
    }
    expected.sort();
    let seen = stored_files()?;
    for path in &expected {
        ensure!(
            seen.contains(path),
            "{} is not there, but {seen:?}",
            path.display()
        );
    }
    ensure!(
        seen.len() == expected.len(),
        "{} files instead of {}",
        seen.len(),
        expected.len()
    );
    Ok(())
}

fn cache_files_have_the_known_attributes_and_modes(ctx: &Context) -> Result<()> {
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    fill(&mut session, ctx, b"attributes", &[b"key"])?;
    let name = "user.CacheFiles.cache";
    let mode =
        |path: &Path| -> Result<u32> { Ok(fs::metadata(path)?.permissions().mode() & 0o7777) };
    for (key, size) in [
        (&b"key"[..], 2 * BLOCK),
        (b"attributes", session.blobs[&b"attributes"[..]].len()),
    ] {
        let path = Path::new(sys::CACHE).join(key_path(b"erofs,attributes", key));
        let mut value = [0; 64];
        let length =
            rustix::fs::getxattr(&path, name, &mut value).context("the file's attribute")?;
        let expected = [&(size as u64).to_be_bytes()[..], &[0; 8], &[1, 0]].concat();
        ensure!(
            value[..length] == expected,
            "the attribute is {:?}",
            &value[..length]
        );
        ensure!(
            mode(&path)? == 0o600,
            "the file has mode {:o}",
            mode(&path)?
        );
        let fan = path.parent().context("no parent")?;
        let volume = fan.parent().context("no parent")?;
        for dir in [fan, volume] {
            ensure!(
                mode(dir)? == 0o700,
                "{} has mode {:o}",
                dir.display(),
                mode(dir)?
            );
        }
        let length =
            rustix::fs::getxattr(volume, name, &mut value).context("the volume's attribute")?;
        ensure!(
            value[..length] == [0; 4],
            "the volume's attribute is {:?}",
            &value[..length]
        );
    }
    Ok(())
}

fn cache_file_holds_the_data_at_its_offset(ctx: &Context) -> Result<()> {
    let image = Builder::new()
        .device("blob")
        .chunked("first", pattern(1, 4 * BLOCK), 4, &[Some(1)])
        .chunked("second", pattern(2, 64 * BLOCK), 4, &[Some(1)])
        .build();
    let mut session = Session::new(ctx.bound_device()?, blobs_of("data", &image));
    let mount = session.mount(&ctx.mount_point("data"), "fsid=data")?;
    let seen = session.read_file(&mount.file("first"))?;
    ensure!(seen == image.files["first"], "wrong content");
    session.unmount(mount)?;
    session.settle()?;
    let path = Path::new(sys::CACHE).join(key_path(b"erofs,data", b"blob"));
    let file = fs::File::open(&path)?;
    ensure!(
        file.metadata()?.len() == 68 * BLOCK as u64,
        "size {}",
        file.metadata()?.len()
    );
    let mut data = vec![0; 4 * BLOCK];
    file.read_exact_at(&mut data, 0)?;
    ensure!(data == image.files["first"], "the file holds other data");
    // What nobody read is a hole, to the end.
    let hole = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0))?;
    ensure!(hole == 4 * BLOCK as u64, "the hole begins at {hole}");
    let data = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(hole));
    ensure!(data == Err(Errno::NXIO), "data behind the hole: {data:?}");
    Ok(())
}

/// Fills the cache under one module, and reads it under the other.
fn taken_over(ctx: &Context, swap: fn(&Context) -> Result<()>) -> Result<()> {
    let keys: [&[u8]; 3] = [
        b"printable",
        b"not printable",
        b"\x91\x92\x93\x94\x95\x96\x97\x98\x99",
    ];
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    fill(&mut session, ctx, b"taken", &keys)?;
    ensure!(!session.log.reads.is_empty(), "nothing was fetched");
    let blobs = std::mem::take(&mut session.blobs);
    drop(session);
    let before = stored_files()?;
    swap(ctx)?;
    let mut session = Session::new(ctx.bound_device()?, blobs);
    fill(&mut session, ctx, b"taken", &keys)?;
    ensure!(
        session.log.reads.is_empty(),
        "fetched again: {:?}",
        session.log.reads
    );
    drop(session);
    ensure!(stored_files()? == before, "the files changed");
    Ok(())
}

fn cache_of_the_other_module_is_used_warm(ctx: &Context) -> Result<()> {
    ctx.load_other_module()?;
    let result = taken_over(ctx, Context::load_own_module);
    // Whatever happened, what is removed at the end is the module under test.
    ctx.load_own_module()?;
    result
}

fn cache_of_this_module_is_used_warm_by_the_other(ctx: &Context) -> Result<()> {
    taken_over(ctx, Context::load_other_module)?;
    ctx.load_own_module()
}

/// Names of the fan-out directories of a volume.
fn fan_out_directories(volume: &str) -> Result<Vec<std::ffi::OsString>> {
    let dir = Path::new(sys::CACHE).join("cache").join(volume);
    let mut names: Vec<_> = fs::read_dir(&dir)
        .with_context(|| format!("reading {}", dir.display()))?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

fn fresh_mount_makes_only_the_directories_it_needs(ctx: &Context) -> Result<()> {
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    // The two blobs that come first in the list of golden names.
    fill(&mut session, ctx, b"golden", &[b"sha256:0123456789abcdef"])?;
    let seen = fan_out_directories("Ierofs,golden")?;
    ensure!(
        seen == ["@3d", "@c6"],
        "{} directories for two blobs",
        seen.len()
    );
    Ok(())
}

fn cache_with_all_its_directories_is_used_warm(ctx: &Context) -> Result<()> {
    let is_rust = ctx.module() == Module::Rust;
    if is_rust {
        ctx.load_other_module()?;
    }
    let result = taken_over(ctx, |ctx| {
        let count = fan_out_directories("Ierofs,taken")?.len();
        ensure!(count == 256, "the C module made {count} directories");
        if ctx.module() == Module::Rust {
            ctx.load_own_module()
        } else {
            ctx.load_other_module()
        }
    });
    let count = fan_out_directories("Ierofs,taken")?.len();
    // Whatever happened, what is removed at the end is the module under test.
    ctx.load_own_module()?;
    result?;
    ensure!(count == 256, "{count} directories are left");
    Ok(())
}

fn keys_of_any_length_are_stored_or_refused(ctx: &Context) -> Result<()> {
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    let image = image_over(1);
    session
        .blobs
        .insert(b"long".to_vec(), std::sync::Arc::new(image.primary.clone()));
    for byte in [b'k', 0x81] {
        for length in [180, 187, 188, 190, 200, 251, 252, 253, 254, 255, 256, 300] {
            let key = vec![byte; length];
            let name = std::ffi::OsString::from_vec(cachefiles_protocol::cookie_file_name(&key));
            session
                .blobs
                .insert(key.clone(), std::sync::Arc::new(image.blobs[0].1.clone()));
            let options = [b"fsid=long,device=".as_slice(), &key].concat();
            let mount = session.try_mount(&ctx.mount_point("long"), &options)?;
            let must_work = name.as_bytes().len() <= 253 && length <= 252;
            match mount {
                Ok(mount) => {
                    let data = session.read_file(&mount.file("0"));
                    session.unmount(mount)?;
                    ensure!(
                        data.is_ok() || !must_work,
                        "{length} times {byte:#x}: {data:?}"
                    );
                }
                Err(errno) => ensure!(!must_work, "{length} times {byte:#x}: {errno}"),
            }
            session.settle()?;
        }
    }
    Ok(())
}
