// SPDX-License-Identifier: GPL-2.0
//! The original mode with a client: what is read comes from the cache the second time, and what
//! lies in the cache is laid out as documented.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::image::pattern;
use cachefiles_harness::share::Counters;
use cachefiles_harness::sys;

use super::stats::{Stats, table};
use crate::net::Net;
use crate::observe::{ATTRIBUTE, attribute, logged, polls};
use crate::probe::{Probe, Rows, probe};

pub const PROBES: &[Probe] = &[
    probe!("netfs", sizes_of_files),
    probe!("netfs", places_and_modes),
    probe!("proc", original_counters),
    probe!("netfs", spoilt_objects),
    probe!("netfs", spoilt_volumes),
];

/// Where the data came from, and whether it is right.
fn verdict(data: &[u8], expected: &[u8], moved: &Counters) -> Result<String> {
    let right = if data == expected { "right" } else { "wrong" };
    let (server, cache) = (moved.downloads()?, moved.cache_reads()?);
    let from = match (server, cache) {
        (0, 0) => "nowhere",
        (0, _) => "the cache",
        (_, 0) => "the server",
        _ => "both",
    };
    Ok(format!("{right} data, from {from}"))
}

/// Mounts, reads one file, and unmounts.
pub fn read_once(net: &mut Net, name: &str, expected: &[u8]) -> Result<String> {
    let before = Counters::now()?;
    net.mount()?;
    let data = net.read(name)?;
    net.unmount()?;
    let moved = Counters::now()?.since(&before);
    verdict(&data, expected, &moved)
}

fn sizes_of_files(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut net = Net::usual(ctx)?;
    for size in [0, 1, 511, 512, 4095, 4096, 4097, 70_000, 131_072, 1_048_577] {
        let data = pattern(size as u32, size);
        net.serve("file", &data)?;
        let seen = read_once(&mut net, "file", &data)?;
        let expect = if size == 0 {
            "right data, from nowhere"
        } else {
            "right data, from the server"
        };
        rows.row(format!("read.{size}-bytes.cold"), expect, seen)?;
        rows.as_c(format!("read.{size}-bytes.stored"), net.cached()?)?;
        let seen = read_once(&mut net, "file", &data)?;
        // Of a file's last page netfs stores nothing where the file ends inside of it.
        rows.as_c(format!("read.{size}-bytes.warm"), seen)?;
        crate::world::forget_volumes()?;
    }
    Ok(())
}

fn places_and_modes(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut net = Net::usual(ctx)?;
    net.serve("file", &pattern(1, 8192))?;
    net.mount()?;
    net.read("file")?;
    rows.row("new-file.stored-while-open", "nothing", net.cached()?)?;
    rows.row(
        "rmdir-of-volume.in-use",
        "EBUSY",
        crate::observe::said_io(fs::remove_dir(volume()?)),
    )?;
    rows.as_c("proc.caches", table("caches", 1)?)?;
    rows.as_c("proc.volumes", table("volumes", 1)?)?;
    let cookies = table("cookies", 2)?;
    // Key and coherency data are the server's.
    let cookies: Vec<String> = cookies
        .lines()
        .map(|line| {
            line.split_whitespace()
                .take(5)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    rows.as_c("proc.cookies", cookies.join("; "))?;
    net.unmount()?;
    let files = net.stored()?;
    rows.row("files", "1", files.len())?;
    let file = files.first().context("no file")?;
    let path = file.strip_prefix(sys::CACHE)?.display().to_string();
    let parts: Vec<&str> = path.split('/').collect();
    let shape = |part: &str| -> String {
        match part.as_bytes().first() {
            Some(b'@') => "@XX".into(),
            // Words in one byte order or the other, whichever is shorter: the server's inode number
            // decides, and each machine has a server of its own.
            Some(b'S' | b'T') => "S or T...".into(),
            Some(sort) if part.len() > 1 => format!("{}...", char::from(*sort)),
            _ => part.into(),
        }
    };
    let kinds = format!(
        "{}/{}/{}/{}",
        parts[0],
        parts[1],
        shape(parts[2]),
        shape(parts[3])
    );
    rows.as_c("path", kinds)?;
    for (what, path) in [
        ("file", file.as_path()),
        ("fan-out", file.parent().context("no parent")?),
        ("volume", &volume()?),
    ] {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
        let expect = if what == "file" { "600" } else { "700" };
        rows.row(format!("mode.{what}"), expect, format!("{mode:o}"))?;
    }
    rows.as_c("attribute.volume", attribute(&volume()?))?;
    rows.row(
        "rmdir-of-volume.idle",
        "ENOTEMPTY",
        crate::observe::said_io(fs::remove_dir(volume()?)),
    )
}

/// The one volume's directory.
fn volume() -> Result<std::path::PathBuf> {
    let entry = fs::read_dir(Path::new(sys::CACHE).join("cache"))?
        .next()
        .context("no volume")??;
    Ok(entry.path())
}

fn original_counters(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut net = Net::usual(ctx)?;
    let data = pattern(1, 73_728);
    net.serve("file", &data)?;
    for step in ["cold", "warm"] {
        let before = Stats::now()?;
        net.mount()?;
        net.read("file")?;
        net.unmount()?;
        Stats::now()?.record(rows, &format!("stats.original.{step}"), &before)?;
    }
    let before = Stats::now()?;
    net.mount()?;
    net.write_at("file", 4000, &[7; 5000])?;
    net.sync("file")?;
    net.truncate("file", 8192)?;
    net.append("file", &[8; 4096])?;
    net.create("new", &data)?;
    net.sync("new")?;
    net.unmount()?;
    Stats::now()?.record(rows, "stats.original.write", &before)?;
    net.serve("file", &pattern(2, 32_768))?;
    let before = Stats::now()?;
    net.mount()?;
    net.read("file")?;
    net.remove("new")?;
    net.unmount()?;
    Stats::now()?.record(rows, "stats.original.change-on-server", &before)?;
    let outstanding = || table_of_objects().unwrap_or_default();
    let done = sys::wait_for("requests to end", cachefiles_harness::task::soon(), || {
        outstanding() == "rr=0 sr=0"
    });
    rows.row(
        "stats.original.requests-left",
        "rr=0 sr=0",
        done.map_or_else(|_| outstanding(), |()| "rr=0 sr=0".into()),
    )
}

/// How many requests and subrequests of netfs there are.
fn table_of_objects() -> Result<String> {
    let text = fs::read_to_string("/proc/fs/netfs/stats")?;
    let line = text
        .lines()
        .find(|line| line.starts_with("Objs"))
        .context("no line of objects")?;
    let fields: Vec<&str> = line
        .split_whitespace()
        .filter(|field| field.starts_with("rr=") || field.starts_with("sr="))
        .collect();
    Ok(fields.join(" "))
}

/// Files whose attribute is not as it should be: what becomes of them at the next open.
fn spoilt_objects(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut net = Net::usual(ctx)?;
    let data = pattern(1, 8192);
    net.serve("file", &data)?;
    for what in [
        "good",
        "size",
        "zero-point",
        "type",
        "content-1",
        "content-2",
        "content-dirty",
        "content-3",
        "coherency",
        "short",
        "long",
        "missing",
    ] {
        crate::world::forget_volumes()?;
        read_once(&mut net, "file", &data)?;
        let path = net.stored()?.into_iter().next().context("no file")?;
        let mut value = vec![0; 256];
        let length = rustix::fs::getxattr(&path, ATTRIBUTE, &mut value)?;
        value.truncate(length);
        match what {
            "size" => value[7] ^= 1,
            "zero-point" => value[15] = 1,
            "type" => value[16] = 2,
            "content-1" => value[17] = 1,
            "content-2" => value[17] = 2,
            "content-3" => value[17] = 3,
            "content-dirty" => value[17] = 4,
            "coherency" => value[18] ^= 1,
            "short" => value.truncate(length - 1),
            "long" => value.push(0),
            _ => {}
        }
        if what == "missing" {
            rustix::fs::removexattr(&path, ATTRIBUTE)?;
        } else {
            rustix::fs::setxattr(&path, ATTRIBUTE, &value, rustix::fs::XattrFlags::empty())?;
        }
        let mut log = cachefiles_harness::kmsg::KernelLog::from_now()?;
        let seen = read_once(&mut net, "file", &data)?;
        rows.as_c(
            format!("spoilt.{what}"),
            format!("{seen}; logged {}", logged(&mut log)?),
        )?;
        rows.as_c(format!("spoilt.{what}.afterwards"), net.cached()?)?;
        let again = read_once(&mut net, "file", &data)?;
        rows.as_c(format!("spoilt.{what}.again"), again)?;
    }
    // A directory where the file should be.
    let path = net.stored()?.into_iter().next().context("no file")?;
    fs::remove_file(&path)?;
    fs::create_dir(&path)?;
    let seen = read_once(&mut net, "file", &data)?;
    let graves = fs::read_dir("/cache/graveyard")?.count();
    rows.as_c("spoilt.directory", format!("{seen}, {graves} graves"))?;
    rows.row("spoilt.poll", "IN", polls(net.device()?)?)
}

fn spoilt_volumes(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut net = Net::usual(ctx)?;
    let data = pattern(1, 8192);
    net.serve("file", &data)?;
    for what in ["good", "reserved", "short", "long", "missing"] {
        crate::world::forget_volumes()?;
        read_once(&mut net, "file", &data)?;
        let dir = volume()?;
        let mut value = vec![0; 256];
        let length = rustix::fs::getxattr(&dir, ATTRIBUTE, &mut value)?;
        value.truncate(length);
        match what {
            "reserved" => value[3] = 1,
            "short" => value.truncate(length - 1),
            "long" => value.push(1),
            _ => {}
        }
        if what == "missing" {
            rustix::fs::removexattr(&dir, ATTRIBUTE)?;
        } else {
            rustix::fs::setxattr(&dir, ATTRIBUTE, &value, rustix::fs::XattrFlags::empty())?;
        }
        let seen = read_once(&mut net, "file", &data)?;
        let graves = fs::read_dir("/cache/graveyard")?.count();
        let after = attribute(&dir);
        rows.as_c(
            format!("spoilt.volume.{what}"),
            format!("{seen}, {graves} graves, then {after}"),
        )?;
    }
    Ok(())
}
