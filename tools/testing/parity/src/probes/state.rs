// SPDX-License-Identifier: GPL-2.0
//! Reading and polling in the original mode: the state of the cache.

use anyhow::{Context as _, Result, bail};
use cachefiles_harness::context::Context;
use cachefiles_harness::{raw, sys};
use cachefiles_protocol::Device;

use crate::observe::{command, polls, said, value};
use crate::probe::{Probe, Rows, probe};
use crate::world::{bound, device_with};

pub const PROBES: &[Probe] = &[
    probe!("state", line),
    probe!("state", errors),
    probe!("state", culling),
];

/// The fields of the state line, in order.
const FIELDS: [&str; 9] = [
    "cull",
    "frun",
    "fcull",
    "fstop",
    "brun",
    "bcull",
    "bstop",
    "freleased",
    "breleased",
];

fn read(device: &Device) -> Result<String> {
    let mut buffer = [0; 256];
    let length = rustix::io::read(device, &mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn field(line: &str, name: &str) -> Result<u64> {
    let value = line
        .split(' ')
        .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        .with_context(|| format!("no {name} in {line:?}"))?;
    Ok(u64::from_str_radix(value, 16)?)
}

/// The line with the limits as percent of the file system's size.
fn normal(line: &str) -> Result<String> {
    let size = rustix::fs::statvfs(sys::CACHE)?;
    let mut fields = Vec::new();
    for field in line.split(' ') {
        let Some((name, text)) = field.split_once('=') else {
            bail!("no field: {field:?} in {line:?}");
        };
        let total = match name {
            "frun" | "fcull" | "fstop" => size.f_files,
            "brun" | "bcull" | "bstop" => size.f_blocks,
            _ => {
                fields.push(field.to_owned());
                continue;
            }
        };
        let value = u64::from_str_radix(text, 16)?;
        let unit = total / 100;
        let text = if value % unit == 0 {
            format!("{}%", value / unit)
        } else {
            text.to_owned()
        };
        fields.push(format!("{name}={text}"));
    }
    Ok(fields.join(" "))
}

fn line(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let device = device_with(ctx, &["dir /cache"])?;
    rows.row("before-bind", "", read(&device)?)?;
    device.command("bind")?;
    let text = read(&device)?;
    let names: Vec<&str> = text
        .split(' ')
        .filter_map(|field| field.split('=').next())
        .collect();
    rows.row("fields", &FIELDS.join(" "), names.join(" "))?;
    rows.row(
        "defaults",
        "cull=0 frun=7% fcull=5% fstop=1% brun=7% bcull=5% bstop=1% freleased=0 breleased=0",
        normal(&text)?,
    )?;
    rows.row("no-newline", "false", text.contains('\n'))?;
    rows.row("again", "true", read(&device)? == text)?;
    drop(device);
    let limits = [
        "dir /cache",
        "frun 90%",
        "fcull 20%",
        "fstop 0%",
        "brun 80%",
        "bcull 10%",
        "bstop 3%",
        "bind",
    ];
    let device = device_with(ctx, &limits)?;
    rows.row(
        "limits",
        "cull=0 frun=90% fcull=20% fstop=0% brun=80% bcull=10% bstop=3% freleased=0 breleased=0",
        normal(&read(&device)?)?,
    )?;
    // The numbers are those of the time of `bind`.
    let seen = command(&device, "fstop 5%");
    rows.as_c(
        "limits.set-after-bind",
        format!("{seen}: {}", normal(&read(&device)?)?),
    )
}

fn errors(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let device = bound(ctx, "bind")?;
    let whole = read(&device)?;
    let mut buffer = [0; 256];
    for (what, length) in [("0", 0), ("1", 1), ("one-short", whole.len() - 1)] {
        let seen = said(rustix::io::read(&*device, &mut buffer[..length]));
        rows.row(format!("EMSGSIZE.{what}"), "EMSGSIZE", seen)?;
    }
    let seen = value(rustix::io::read(&*device, &mut buffer[..whole.len()]));
    rows.row("exact-length", &whole.len().to_string(), seen)?;
    rows.row(
        "EFAULT",
        "EFAULT",
        said(raw::read_to_address(&*device, 8, 256)),
    )?;
    rows.as_c("EFAULT.short", said(raw::read_to_address(&*device, 8, 20)))?;
    rows.row("after-errors", "true", read(&device)? == whole)?;
    rows.as_c(
        "pread",
        value(rustix::io::pread(&*device, &mut buffer, 4711)),
    )
}

fn culling(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let device = device_with(ctx, &["dir /cache", "bind"])?;
    rows.row("poll.idle", "nothing", polls(&device)?)?;
    drop(device);
    // A fresh ext4 has some percent of its blocks in use and reserved.
    let limits = ["dir /cache", "brun 99%", "bcull 98%", "bstop 0%", "bind"];
    let device = device_with(ctx, &limits)?;
    rows.row("poll.culling", "IN|OUT", polls(&device)?)?;
    rows.row("culling", "1", field(&read(&device)?, "cull")?)?;
    rows.row("poll.culling.after-read", "OUT", polls(&device)?)?;
    drop(device);
    // Culling goes on until `run` is reached: here by making room between the two.
    let free = || -> Result<u64> {
        let size = rustix::fs::statvfs(sys::CACHE)?;
        Ok(size.f_bavail * 100 / size.f_blocks)
    };
    let before = free()?;
    let filler = std::fs::File::create("/cache/filler")?;
    let size = rustix::fs::statvfs(sys::CACHE)?;
    let tenth = size.f_blocks * size.f_frsize / 10;
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, tenth)?;
    let (cull, run) = (before - 4, before - 2);
    let limits = [
        "dir /cache".to_owned(),
        format!("brun {run}%"),
        format!("bcull {cull}%"),
        "bstop 0%".into(),
        "bind".into(),
    ];
    // The order of the limits must hold at each step.
    let limits: Vec<&str> = limits.iter().map(String::as_str).collect();
    let device = device_with(ctx, &limits)?;
    rows.row("begins-below-cull", "1", field(&read(&device)?, "cull")?)?;
    rustix::fs::ftruncate(&filler, 0)?;
    rustix::fs::syncfs(&filler)?;
    rows.row("poll.before-it-is-noticed", "OUT", polls(&device)?)?;
    rows.row("ends-above-run", "0", field(&read(&device)?, "cull")?)?;
    // The read itself noticed it, and told the state of after.
    rows.row("poll.ended", "nothing", polls(&device)?)
}
