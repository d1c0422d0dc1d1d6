// SPDX-License-Identifier: GPL-2.0
//! What lies in the cache directory: names, modes, attributes, data, times.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::image::{BLOCK, Builder, Image, pattern};
use cachefiles_harness::session::{Session, blobs_of};
use cachefiles_harness::sys;

use crate::observe::{ATTRIBUTE, attribute, said_io, value};
use crate::probe::{Probe, Rows, probe};
use crate::world::{FSID, blob_path, bound, image, mounted, unmount};

pub const PROBES: &[Probe] = &[
    probe!("disk", names),
    probe!("disk", modes_and_attributes),
    probe!("disk", data_and_holes),
    probe!("disk", life_of_a_file),
    probe!("disk", spoilt_files),
];

/// Every regular file below the store, relative to it; without the fan-out directories.
fn stored() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let store = Path::new(sys::CACHE).join("cache");
    let mut dirs = vec![store.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else {
                files.push(entry.path().strip_prefix(&store)?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// An image with a file on each of several devices, which the mount options name.
fn image_over(count: usize) -> Image {
    let mut builder = Builder::new().plain("own", pattern(99, BLOCK));
    for number in 0..count {
        builder = builder.device(format!("tag-{number}"));
    }
    for number in 0..count {
        let place = u16::try_from(number + 1).unwrap_or_default();
        builder = builder.chunked(&number.to_string(), pattern(1, BLOCK), 1, &[Some(place)]);
    }
    builder.build()
}

fn fill(session: &mut Session, ctx: &Context, fsid: &[u8], keys: &[&[u8]]) -> Result<()> {
    let image = image_over(keys.len());
    session
        .blobs
        .insert(fsid.to_vec(), Arc::new(image.primary.clone()));
    let mut options = [b"fsid=".as_slice(), fsid].concat();
    for (key, (_, data)) in keys.iter().zip(&image.blobs) {
        session.blobs.insert(key.to_vec(), Arc::new(data.clone()));
        options.extend_from_slice(b",device=");
        options.extend_from_slice(key);
    }
    let mount = session.mount(&ctx.mount_point("disk"), &options)?;
    session.check_files(&mount, &image)?;
    unmount(session, mount)
}

fn names(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    let long = b"k".repeat(200);
    let long_odd: Vec<u8> = (1..=120).map(|byte| byte | 0x80).collect();
    for (what, expect, key) in [
        (
            "printable",
            Some("@c6/Dsha256:0123456789abcdef"),
            b"sha256:0123456789abcdef".as_slice(),
        ),
        (
            "words.big-endian",
            Some("@a9/S1020304"),
            b"\x01\x02\x03\x04",
        ),
        ("words.little-endian", Some("@5b/T101"), b"\x01\x01"),
        ("base64.short", Some("@09/E010i0"), b"\x01 \x01"),
        (
            "base64",
            Some("@75/E21aUw4mEx7y88IZCrD100"),
            b"\x81\x82\x83\x84\x85\x86\x87\x88 long",
        ),
        ("slashes", None, b"a/b/c"),
        ("tilde-and-delete", None, b"~tilde-and\x7fdelete"),
        ("blank", None, b"two words"),
        ("words.two", None, b"\xff\xfe\xfd\xfc\x01\x02\x03\x04"),
        ("one-byte", None, b"\x01"),
        ("long", None, &long),
        ("long.not-printable", None, &long_odd),
    ] {
        fill(&mut session, ctx, b"golden", &[key])?;
        let seen: Vec<String> = stored()?
            .iter()
            .map(|path| path.display().to_string())
            .filter(|path| path != "Ierofs,golden/@3d/Dgolden")
            .map(|path| path.replace("Ierofs,golden/", ""))
            .collect();
        match expect {
            Some(expect) => rows.row(format!("name.{what}"), expect, seen.join(" "))?,
            None => rows.as_c(format!("name.{what}"), seen.join(" "))?,
        }
        fs::remove_dir_all("/cache/cache/Ierofs,golden")?;
    }
    for (what, fsid) in [
        ("blank", b"with blank".as_slice()),
        ("not-ASCII", b"\xc3\xa9t\xc3\xa9"),
        ("long", &b"v".repeat(120)),
    ] {
        fill(&mut session, ctx, fsid, &[b"key"])?;
        let seen: Vec<String> = stored()?
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        rows.as_c(format!("name.volume.{what}"), seen.join(" "))?;
        let volume = [b"/cache/cache/Ierofs,".as_slice(), fsid].concat();
        fs::remove_dir_all(Path::new(std::ffi::OsStr::new(&*String::from_utf8_lossy(
            &volume,
        ))))?;
    }
    Ok(())
}

fn modes_and_attributes(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    session.check_files(&mount, &image())?;
    unmount(&mut session, mount)?;
    let path = blob_path();
    let fan = path.parent().context("no parent")?;
    let volume = fan.parent().context("no parent")?;
    for (what, expect, path) in [
        ("file", "600 0:0", path.as_path()),
        ("fan-out", "700 0:0", fan),
        ("volume", "700 0:0", volume),
    ] {
        let data = fs::metadata(path)?;
        let seen = format!(
            "{:o} {}:{}",
            data.permissions().mode() & 0o7777,
            data.uid(),
            data.gid()
        );
        rows.row(format!("mode.{what}"), expect, seen)?;
        let mut names = vec![0; 1024];
        let length = rustix::fs::listxattr(path, &mut names)?;
        let names = String::from_utf8_lossy(&names[..length]).replace('\0', " ");
        rows.as_c(format!("attributes.{what}"), names.trim())?;
    }
    rows.row(
        "attribute.file",
        "00000000 00008000 00000000 00000000 0100",
        attribute(&path),
    )?;
    rows.row("attribute.volume", "00000000", attribute(volume))?;
    rows.row("attribute.fan-out", "ENODATA", attribute(fan))?;
    let count = fs::read_dir(volume)?.count();
    let used = if count == 256 {
        "all 256".into()
    } else if count <= 2 {
        "those that are used".into()
    } else {
        count.to_string()
    };
    rows.as_c("fan-out.directories", used)
}

fn data_and_holes(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let image = Builder::new()
        .device("blob")
        .chunked("first", pattern(1, 4 * BLOCK), 4, &[Some(1)])
        .chunked("second", pattern(2, 64 * BLOCK), 4, &[Some(1)])
        .build();
    let mut session = Session::new(ctx.bound_device()?, blobs_of(FSID, &image));
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let right = session.read_file(&mount.file("first"))? == image.files["first"];
    rows.row("data.read", "true", right)?;
    unmount(&mut session, mount)?;
    let file = fs::File::open(blob_path())?;
    rows.row("data.size", "278528", file.metadata()?.len())?;
    let mut data = vec![0; 4 * BLOCK];
    file.read_exact_at(&mut data, 0)?;
    rows.row("data.at-its-offset", "true", data == image.files["first"])?;
    let seek = |from| value(rustix::fs::seek(&file, from));
    rows.row(
        "data.hole-begins",
        "16384",
        seek(rustix::fs::SeekFrom::Hole(0)),
    )?;
    rows.row(
        "data.after-the-hole",
        "ENXIO",
        seek(rustix::fs::SeekFrom::Data(16384)),
    )
}

/// When the file appears, who may remove it meanwhile, and its times.
fn life_of_a_file(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut session, mount) = mounted(ctx)?;
    session.check_files(&mount, &image())?;
    rows.as_c("life.linked-while-new-and-open", blob_path().exists())?;
    unmount(&mut session, mount)?;
    rows.row("life.linked-after-unmount", "true", blob_path().exists())?;
    let past = rustix::fs::Timespec {
        tv_sec: 1_000_000,
        tv_nsec: 0,
    };
    let times = rustix::fs::Timestamps {
        last_access: past,
        last_modification: past,
    };
    rustix::fs::utimensat(
        rustix::fs::CWD,
        blob_path(),
        &times,
        rustix::fs::AtFlags::empty(),
    )?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let data = fs::metadata(blob_path())?;
    let touched = |time: i64| if time == 1_000_000 { "old" } else { "new" };
    rows.row("life.atime-at-open", "new", touched(data.atime()))?;
    rows.row("life.mtime-at-open", "old", touched(data.mtime()))?;
    let renamed = said_io(fs::rename(blob_path(), blob_path().with_extension("x")));
    rows.as_c("life.in-use.rename", renamed)?;
    if !blob_path().exists() {
        fs::rename(blob_path().with_extension("x"), blob_path())?;
    }
    let fan = blob_path();
    let fan = fan.parent().context("no parent")?;
    rows.row(
        "life.in-use.rmdir-of-volume",
        "EBUSY",
        said_io(fs::remove_dir(fan.parent().context("no parent")?)),
    )?;
    rows.as_c("life.in-use.unlink", said_io(fs::remove_file(blob_path())))?;
    rows.as_c(
        "life.unlinked.read",
        session.check_files(&mount, &image()).is_ok(),
    )?;
    unmount(&mut session, mount)?;
    rows.as_c("life.unlinked.after-unmount", blob_path().exists())
}

/// Files and volumes that are not as they should be: what becomes of them at the next open.
fn spoilt_files(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut session = crate::world::filled(ctx)?;
    let path = blob_path();
    let good: Vec<u8> = [&0x8000_u64.to_be_bytes()[..], &[0; 8], &[1, 0]].concat();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for (what, expect, bytes) in [
        ("good", Some("0 READs"), Some(good.clone())),
        ("size", None, Some(with(7, 1))),
        ("zero-point", None, Some(with(15, 1))),
        ("type", None, Some(with(16, 2))),
        ("content-dirty", None, Some(with(17, 3))),
        ("content-1", None, Some(with(17, 1))),
        ("short", None, Some(good[..17].to_vec())),
        ("long", None, Some([&good[..], &[0]].concat())),
        ("missing", None, None),
    ] {
        match bytes {
            Some(bytes) => {
                rustix::fs::setxattr(&path, ATTRIBUTE, &bytes, rustix::fs::XattrFlags::empty())?
            }
            None => rustix::fs::removexattr(&path, ATTRIBUTE)?,
        }
        let mut log = cachefiles_harness::kmsg::KernelLog::from_now()?;
        let seen = remount(ctx, &mut session)?;
        match expect {
            Some(expect) => rows.row(format!("spoilt.{what}"), expect, seen)?,
            None => rows.as_c(format!("spoilt.{what}"), seen)?,
        }
        rows.as_c(
            format!("spoilt.{what}.log"),
            crate::observe::logged(&mut log)?,
        )?;
        rows.as_c(
            format!("spoilt.{what}.attribute-afterwards"),
            attribute(&path),
        )?;
        if attribute(&path) == "ENOENT" || attribute(&path) == "ENODATA" {
            // What was not stored again by itself is fetched anew from here on.
            let _ = fs::remove_file(&path);
            remount(ctx, &mut session)?;
        }
    }
    // A directory where the file should be.
    fs::remove_file(&path)?;
    fs::create_dir(&path)?;
    rows.as_c("spoilt.directory", remount(ctx, &mut session)?)?;
    let graves = fs::read_dir("/cache/graveyard")?.count();
    rows.as_c("spoilt.directory.graves", graves)?;
    // The volume's attribute.
    let volume = path.parent().and_then(Path::parent).context("no parent")?;
    for (what, bytes) in [
        ("good", Some(vec![0; 4])),
        ("reserved", Some(vec![0, 0, 0, 1])),
        ("long", Some(vec![0; 5])),
        ("short", Some(vec![0; 3])),
        ("missing", None),
    ] {
        match bytes {
            Some(bytes) => {
                rustix::fs::setxattr(volume, ATTRIBUTE, &bytes, rustix::fs::XattrFlags::empty())?
            }
            None => rustix::fs::removexattr(volume, ATTRIBUTE)?,
        }
        let before = fs::read_dir("/cache/graveyard")?.count();
        let seen = remount(ctx, &mut session)?;
        let graves = fs::read_dir("/cache/graveyard")?.count() - before;
        rows.as_c(
            format!("spoilt.volume.{what}"),
            format!("{seen}, {graves} graves"),
        )?;
        rows.as_c(
            format!("spoilt.volume.{what}.attribute-afterwards"),
            attribute(volume),
        )?;
    }
    drop(session);
    drop(bound(ctx, "bind")?);
    Ok(())
}

/// Mounts, reads and unmounts: how many READs of the blob there were.
fn remount(ctx: &Context, session: &mut Session) -> Result<String> {
    session.log = Default::default();
    let options = format!("fsid={FSID}");
    let mount = match session.try_mount(&ctx.mount_point(FSID), options.as_bytes())? {
        Ok(mount) => mount,
        Err(errno) => {
            session.settle()?;
            return Ok(crate::observe::cached::<()>(Err(errno)));
        }
    };
    // An object that cannot be had may never count as looked up.
    let end = std::time::Instant::now() + std::time::Duration::from_millis(500);
    session.pump_until("all lookups to end", |_| {
        sys::lookups_done().unwrap_or(false) || std::time::Instant::now() > end
    })?;
    let read = cachefiles_harness::task::read_in_background(&mount.file("file"));
    session.pump_until("the read", |_| read.is_done())?;
    let read = crate::observe::cached_io(read.finish()?);
    let blob = session
        .log
        .opens
        .iter()
        .filter(|open| open.2 == b"blob")
        .map(|open| open.1)
        .collect::<Vec<_>>();
    let count = session
        .log
        .reads
        .iter()
        .filter(|read| blob.contains(&read.object_id))
        .count();
    unmount(session, mount)?;
    Ok(if read == "ok" {
        format!("{count} READs")
    } else {
        read
    })
}
