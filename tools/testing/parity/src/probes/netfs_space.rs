// SPDX-License-Identifier: GPL-2.0
//! The original mode with a client, and a daemon that culls, runs out of room, or goes away.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::image::pattern;
use cachefiles_harness::kmsg::KernelLog;
use cachefiles_harness::share::Counters;
use cachefiles_harness::task::soon;
use cachefiles_harness::{share, sys};
use cachefiles_protocol::Device;

use super::netfs::read_once;
use crate::net::Net;
use crate::observe::{command, logged, polls, said};
use crate::probe::{Probe, Rows, probe};
use crate::world::{injecting, within};

pub const PROBES: &[Probe] = &[
    probe!("netfs", culling_and_releasing),
    probe!("netfs", below_the_stop_limits),
    probe!("netfs", device_goes_away),
    probe!("netfs", errors_of_the_disk),
];

/// The one of them that injects errors.
pub const INJECTING: &str = "errors_of_the_disk";

fn state(device: &Device) -> Result<String> {
    let mut buffer = [0; 256];
    let length = rustix::io::read(device, &mut buffer)?;
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let at = text.find("freleased").context("no freleased")?;
    Ok(text[at..].to_owned())
}

fn culling_and_releasing(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut net = Net::usual(ctx)?;
    let data = pattern(1, 73_728);
    net.serve("file", &data)?;
    read_once(&mut net, "file", &data)?;
    // A new file is no file of the cache yet when it is let go.
    rows.as_c("released.new-file.poll", polls(net.device()?)?)?;
    rows.as_c("released.new-file", state(net.device()?)?)?;
    read_once(&mut net, "file", &data)?;
    rows.row("released.poll", "IN", polls(net.device()?)?)?;
    let path = net.stored()?.into_iter().next().context("no file")?;
    let blocks = fs::metadata(&path)?.blocks();
    rows.row(
        "released",
        &format!("freleased=1 breleased={blocks:x}"),
        state(net.device()?)?,
    )?;
    rows.row("released.poll.after-read", "nothing", polls(net.device()?)?)?;
    rows.row(
        "released.again",
        "freleased=0 breleased=0",
        state(net.device()?)?,
    )?;
    // A read that fails.
    read_once(&mut net, "file", &data)?;
    let short = said(rustix::io::read(net.device()?, &mut [0; 8]));
    let then = state(net.device()?)?
        .split(' ')
        .next()
        .unwrap_or_default()
        .to_owned();
    rows.as_c(
        "released.after-a-failed-read",
        format!("{short}, then {then}"),
    )?;

    let (dir, name) = (
        path.parent().context("no parent")?,
        path.file_name().context("no name")?,
    );
    let name = name.to_string_lossy().into_owned();
    net.mount()?;
    net.read("file")?;
    for verb in ["inuse", "cull"] {
        let device = net.device()?;
        let seen = within(dir, || command(device, &format!("{verb} {name}")))?;
        rows.row(format!("culling.in-use.{verb}"), "EBUSY", seen)?;
    }
    net.unmount()?;
    for (verb, expect) in [("inuse", "ok"), ("cull", "ok")] {
        let device = net.device()?;
        let seen = within(dir, || command(device, &format!("{verb} {name}")))?;
        rows.row(format!("culling.idle.{verb}"), expect, seen)?;
    }
    rows.row("culling.gone", "nothing", net.cached()?)?;
    let seen = read_once(&mut net, "file", &data)?;
    rows.row("culling.read-again", "right data, from the server", seen)?;
    let seen = read_once(&mut net, "file", &data)?;
    rows.row(
        "culling.read-again.warm",
        "right data, from the cache",
        seen,
    )
}

fn below_the_stop_limits(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let limits = [
        "brun 60%",
        "bcull 55%",
        "bstop 50%",
        "dir /cache",
        "tag selftest",
        "bind",
    ];
    let mut net = Net::new(ctx, &limits)?;
    let data = pattern(1, 73_728);
    net.serve("file", &data)?;
    read_once(&mut net, "file", &data)?;
    let filler = fs::File::create("/cache/filler")?;
    let size = rustix::fs::statvfs(sys::CACHE)?;
    let most = size.f_bavail * size.f_frsize - size.f_blocks * size.f_frsize * 4 / 10;
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, most)?;
    rustix::fs::syncfs(&filler)?;
    let step = |rows: &mut Rows,
                net: &mut Net,
                what: &str,
                make: &dyn Fn(&Net) -> Result<bool>|
     -> Result<()> {
        let before = Counters::now()?;
        net.mount()?;
        let right = make(net)?;
        net.unmount()?;
        let moved = Counters::now()?.since(&before);
        let counts: Result<Vec<String>> = ["NoSpace.nwr", "NoSpace.ncr", "NoSpace.cull"]
            .iter()
            .map(|name| {
                // How often somebody tries again is chance.
                let some = if moved.get(name)? > 0 { "some" } else { "none" };
                Ok(format!("{name}: {some}"))
            })
            .collect();
        rows.as_c(
            format!("stop.{what}"),
            format!("right data {right}, {}", counts?.join(" ")),
        )?;
        rows.as_c(format!("stop.{what}.stored"), net.cached()?)
    };
    step(rows, &mut net, "read-what-is-there", &|net| {
        Ok(net.read("file")? == pattern(1, 73_728))
    })?;
    step(rows, &mut net, "write-over-what-is-there", &|net| {
        net.write_at("file", 8192, &[7; 4096])?;
        net.sync("file")?;
        Ok(net.read("file")?[8192..8192 + 4096] == [7; 4096])
    })?;
    step(rows, &mut net, "write-behind-what-is-there", &|net| {
        net.append("file", &[7; 20_480])?;
        net.sync("file")?;
        Ok(net.read("file")?.len() == 94_208)
    })?;
    net.serve("other", &data)?;
    step(rows, &mut net, "new-file", &|net| {
        Ok(net.read("other")? == pattern(1, 73_728))
    })?;
    rows.row("stop.poll", "IN|OUT", polls(net.device()?)?)?;
    rustix::fs::ftruncate(&filler, 0)?;
    rustix::fs::syncfs(&filler)?;
    state(net.device()?)?;
    rows.row("stop.room-again.poll", "nothing", polls(net.device()?)?)?;
    step(rows, &mut net, "room-again.new-file", &|net| {
        Ok(net.read("other")? == pattern(1, 73_728))
    })?;
    drop(net);
    fs::remove_file("/cache/filler")?;
    Ok(())
}

fn device_goes_away(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut net = Net::usual(ctx)?;
    let data = pattern(1, 73_728);
    net.serve("file", &data)?;
    net.serve("other", &data)?;
    // What is there has been written when the client is gone.
    read_once(&mut net, "file", &data)?;
    net.mount()?;
    net.read("file")?;
    let mut log = KernelLog::from_now()?;
    net.close_device();
    sys::wait_for("the device to be free", soon(), || Device::open().is_ok())?;
    rows.row(
        "unbound.log",
        "File cache on selftest unregistering",
        logged(&mut log)?,
    )?;
    rows.as_c("unbound.stored", net.cached()?)?;
    for name in ["file", "other"] {
        share::drop_caches()?;
        rows.row(
            format!("unbound.read.{name}"),
            "true",
            net.read(name)? == data,
        )?;
    }
    net.write_at("file", 100, b"seven")?;
    net.sync("file")?;
    rows.row(
        "unbound.write",
        "true",
        net.served("file")?[100..105] == *b"seven",
    )?;
    rows.row("unbound.rmmod", "ok", said(sys::remove_module()))?;
    share::drop_caches()?;
    rows.row("unbound.rmmod.read", "true", net.read("other")? == data)?;
    ctx.load_own_module()?;
    net.bind_again(ctx)?;
    let before = Counters::now()?;
    rows.row("bound-again.read", "true", net.read("other")? == data)?;
    let moved = Counters::now()?.since(&before);
    rows.as_c("bound-again.read.from-cache", moved.cache_reads()? > 0)?;
    net.unmount()?;
    let seen = read_once(&mut net, "other", &data)?;
    rows.as_c("bound-again.remounted", seen)?;
    let seen = read_once(&mut net, "other", &data)?;
    rows.row(
        "bound-again.remounted.warm",
        "right data, from the cache",
        seen,
    )
}

fn errors_of_the_disk(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (value, errno) in [("1", "ENOSPC"), ("2", "EIO")] {
        for moment in ["cold", "warm", "write", "truncate"] {
            let mut net = Net::usual(ctx)?;
            let data = pattern(1, 73_728);
            net.serve("file", &data)?;
            if moment != "cold" {
                read_once(&mut net, "file", &data)?;
            }
            let seen = injecting(value, || -> Result<String> {
                match moment {
                    "cold" | "warm" => read_once(&mut net, "file", &data),
                    _ => {
                        net.mount()?;
                        if moment == "write" {
                            net.write_at("file", 4096, &[7; 4096])?;
                            net.sync("file")?;
                        } else {
                            net.truncate("file", 8192)?;
                        }
                        net.unmount()?;
                        let served = net.served("file")?;
                        let right = if moment == "write" {
                            served[4096..8192] == [7; 4096]
                        } else {
                            served == data[..8192]
                        };
                        Ok(format!("server right {right}"))
                    }
                }
            })??;
            let alive = command(net.device()?, "debug 0");
            rows.as_c(
                format!("injected.{errno}.{moment}"),
                format!("{seen}; the device says {alive}"),
            )?;
            let expected = net.served("file")?;
            let seen = read_once(&mut net, "file", &expected)?;
            rows.as_c(format!("injected.{errno}.{moment}.then"), seen)?;
            drop(net);
            sys::wait_for("the device to be free", soon(), || Device::open().is_ok())?;
            crate::world::forget_volumes()?;
        }
    }
    Ok(())
}
