// SPDX-License-Identifier: GPL-2.0
//! The commands that set a cache up: limits, directory, tag, security context, debugging mask.

use std::fs;

use anyhow::Result;
use cachefiles_harness::context::Context;
use cachefiles_harness::sys;

use crate::observe::{command, each, said, text_of};
use crate::probe::{Probe, Rows, probe};
use crate::world::{MODES, bound, device_with};

pub const PROBES: &[Probe] = &[
    probe!("limits", limits_one_by_one),
    probe!("limits", series_of_limits),
    probe!("dir", directory),
    probe!("tag", tag),
    probe!("secctx", security_context),
    probe!("debug", debug_mask),
];

/// Each of the commands on a device of its own.
fn on_fresh_devices(ctx: &Context, commands: &[String]) -> Result<String> {
    let mut results = Vec::new();
    for text in commands {
        results.push((text.clone(), command(&ctx.device()?, text)));
    }
    Ok(each(results))
}

fn limits_one_by_one(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for kind in ["f", "b"] {
        // With the defaults run 7 %, cull 5 %, stop 1 %.
        for (verb, good, out_of_order) in [
            (
                "run",
                &["6", "7", "50", "99", "099"][..],
                &["0", "1", "5", "100", "101", "4294967303"][..],
            ),
            (
                "cull",
                &["2", "5", "6", "006"],
                &["0", "1", "7", "99", "100"],
            ),
            (
                "stop",
                &["0", "1", "4"],
                &["5", "6", "99", "100", "4294967296"],
            ),
        ] {
            let verb = format!("{kind}{verb}");
            let with = |arguments: &[&str]| -> Vec<String> {
                arguments
                    .iter()
                    .map(|argument| format!("{verb} {argument}"))
                    .collect()
            };
            let percent = |numbers: &[&str]| -> Vec<String> {
                numbers
                    .iter()
                    .map(|number| format!("{verb} {number}%"))
                    .collect()
            };
            let seen = on_fresh_devices(ctx, &percent(good))?;
            rows.row(format!("{verb}.accepted"), "ok", seen)?;
            let seen = on_fresh_devices(ctx, &percent(out_of_order))?;
            rows.row(format!("{verb}.EINVAL.order"), "EINVAL", seen)?;
            let bad = ["x%", "-1%", "+6%", "0x6%", "6.5%"];
            let seen = on_fresh_devices(ctx, &with(&bad))?;
            rows.row(format!("{verb}.EINVAL.number"), "EINVAL", seen)?;
            let seen = on_fresh_devices(ctx, &with(&["6", "6 %", "", "6%%", "6%x", "6% "]))?;
            rows.row(format!("{verb}.EINVAL.percent-sign"), "EINVAL", seen)?;
            rows.as_c(
                format!("{verb}.no-digits"),
                on_fresh_devices(ctx, &with(&["%", " %"]))?,
            )?;
            let wrapped = with(&["18446744073709551622%"]);
            rows.as_c(
                format!("{verb}.over-64-bits"),
                on_fresh_devices(ctx, &wrapped)?,
            )?;
            rows.row(
                format!("{verb}.EINVAL.empty"),
                "EINVAL",
                on_fresh_devices(ctx, &[verb])?,
            )?;
        }
    }
    for (mode, bind) in MODES {
        let device = bound(ctx, bind)?;
        rows.as_c(format!("after-bind.{mode}"), command(&device, "frun 50%"))?;
    }
    Ok(())
}

/// Many commands in a row, most of them near the border of what is in order; then `bind`, which
/// must never find the limits out of order.
fn series_of_limits(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut answers = String::new();
    let mut binds = Vec::new();
    for round in 0..4 {
        let device = device_with(ctx, &["dir /cache"])?;
        for _ in 0..150 {
            let verb = ["frun", "fcull", "fstop", "brun", "bcull", "bstop"][random(6) as usize];
            let span = [12, 110][random(2) as usize];
            let accepted = device.command(&format!("{verb} {}%", random(span))).is_ok();
            answers.push(if accepted { '+' } else { '-' });
        }
        let last = ["bstop 0%", "fstop 0%"].map(|text| command(&device, text));
        answers.push_str(&last.concat());
        let bind = MODES[round % 2].1;
        binds.push((bind.to_owned(), command(&device, bind)));
    }
    rows.as_c("series", answers)?;
    rows.row("series.bind-never-ERANGE", "ok", each(binds))
}

fn directory(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let empty = ["dir", "dir ", "dir  \n", "dir\t"].map(str::to_owned);
    rows.row("EINVAL.empty", "EINVAL", on_fresh_devices(ctx, &empty)?)?;
    let device = device_with(ctx, &["dir /cache"])?;
    rows.row("EEXIST", "EEXIST", command(&device, "dir /elsewhere"))?;
    rows.row("EEXIST.same", "EEXIST", command(&device, "dir /cache"))?;
    rows.row("EINVAL.before-EEXIST", "EINVAL", command(&device, "dir"))?;
    drop(device);
    rows.as_c(
        "not-looked-up",
        command(&ctx.device()?, "dir /no/such/place"),
    )?;
    for (mode, bind) in MODES {
        let device = bound(ctx, bind)?;
        rows.row(
            format!("EEXIST.after-bind.{mode}"),
            "EEXIST",
            command(&device, "dir /x"),
        )?;
    }
    Ok(())
}

fn tag(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let empty = ["tag", "tag ", "tag  \n"].map(str::to_owned);
    rows.row("EINVAL.empty", "EINVAL", on_fresh_devices(ctx, &empty)?)?;
    let device = device_with(ctx, &["tag one"])?;
    rows.row("EEXIST", "EEXIST", command(&device, "tag two"))?;
    rows.row("EEXIST.same", "EEXIST", command(&device, "tag one"))?;
    drop(device);
    for (mode, bind) in MODES {
        // The tag is what /proc/fs/fscache/caches calls the cache.
        for (name, tag) in [("given", Some("tag a tag with blanks")), ("default", None)] {
            let commands: Vec<&str> = ["dir /cache"]
                .into_iter()
                .chain(tag)
                .chain([bind])
                .collect();
            let device = device_with(ctx, &commands)?;
            let table = fs::read_to_string("/proc/fs/fscache/caches")?;
            let line = table.lines().last().unwrap_or_default();
            let seen: Vec<&str> = line.split_whitespace().skip(6).collect();
            let expect = tag.map_or("CacheFiles", |tag| &tag[4..]);
            rows.row(format!("{name}.{mode}"), expect, seen.join(" "))?;
            rows.as_c(
                format!("after-bind.{name}.{mode}"),
                command(&device, "tag x"),
            )?;
        }
    }
    Ok(())
}

fn security_context(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let empty = ["secctx", "secctx ", "secctx \n"].map(str::to_owned);
    rows.row("EINVAL.empty", "EINVAL", on_fresh_devices(ctx, &empty)?)?;
    let device = device_with(ctx, &["dir /cache"])?;
    let context = "secctx system_u:system_r:cachefiles_kernel_t:s0";
    // Only an LSM that labels processes has an opinion on contexts.
    let own = std::fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    if !own.is_empty() {
        let label = own.trim_end_matches(['\0', '\n']);
        rows.as_c("with-an-LSM.unknown", command(&device, context))?;
        let known = format!("secctx {label}");
        rows.row("with-an-LSM.known", "ok", command(&device, &known))?;
        rows.row("with-an-LSM.twice", "EINVAL", command(&device, &known))?;
        return rows.as_c("with-an-LSM.bind", command(&device, "bind ondemand"));
    }
    rows.row("without-an-LSM", "EOPNOTSUPP", command(&device, context))?;
    rows.row(
        "refused-is-not-given",
        "EOPNOTSUPP",
        command(&device, context),
    )?;
    rows.row(
        "refused-does-not-hinder-bind",
        "ok",
        command(&device, "bind ondemand"),
    )
}

fn debug_mask(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let parameter = "/sys/module/cachefiles/parameters/debug";
    let device = ctx.device()?;
    // Bit 3 and above stand for nothing, so that the log stays quiet.
    for (argument, expect) in [
        ("8", "ok 8"),
        ("0x10", "ok 16"),
        ("0X10", "ok 16"),
        ("010", "ok 8"),
        ("0", "ok 0"),
    ] {
        let seen = command(&device, &format!("debug {argument}"));
        let seen = format!("{seen} {}", text_of(parameter));
        rows.row(format!("accepted.{argument}"), expect, seen)?;
    }
    for argument in [
        "",
        "4294967304",
        "18446744073709551624",
        "0x",
        "08",
        "0x8g",
        "+8",
        "8,",
        "8\t",
    ] {
        said(device.command("debug 0"));
        let seen = command(&device, &format!("debug {argument}"));
        let seen = format!("{seen} {}", text_of(parameter));
        rows.as_c(format!("odd.{argument:?}"), seen)?;
    }
    said(device.command("debug 8"));
    let bad = ["debug x", "debug 8x", "debug 1 2", "debug -1"];
    let results = bad.map(|text| (text.to_owned(), command(&device, text)));
    rows.row("EINVAL", "EINVAL", each(results))?;
    rows.row("EINVAL.keeps-the-mask", "8", text_of(parameter))?;
    drop(device);
    rows.row("outlives-the-device", "8", text_of(parameter))?;
    // Nor does a device that was never bound need a cache for it.
    fs::write(parameter, "0")?;
    let device = sys::module_references()?;
    rows.as_c("references-after", device.to_string())
}
