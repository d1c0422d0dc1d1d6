// SPDX-License-Identifier: GPL-2.0
//! The module itself: parameter, sysctl, log lines, what it is called.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;
use cachefiles_harness::context::Context;
use cachefiles_harness::kmsg::KernelLog;
use cachefiles_harness::sys;

use crate::observe::{logged, said, said_io, text_of};
use crate::probe::{Probe, Rows, probe};
use crate::world::{INJECTION, MODES, bound};

pub const PROBES: &[Probe] = &[
    probe!("module", parameter),
    probe!("module", sysctl),
    probe!("module", loading_and_unloading),
    probe!("module", debugging_streams),
];

const PARAMETER: &str = "/sys/module/cachefiles/parameters/debug";

/// Mode, and what is read back after each write.
fn writes(path: &str, values: &[&str]) -> Result<Vec<(String, String)>> {
    let mut seen = Vec::new();
    for value in values {
        fs::write(path, "0")?;
        let written = said_io(fs::write(path, value));
        seen.push(((*value).to_owned(), format!("{written} {}", text_of(path))));
    }
    fs::write(path, "0")?;
    Ok(seen)
}

fn parameter(_: &Context, rows: &mut Rows) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir("/sys/module/cachefiles/parameters")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    rows.row("parameters", "debug", names.join(" "))?;
    let mode = fs::metadata(PARAMETER)?.permissions().mode() & 0o7777;
    rows.row("debug.mode", "644", format!("{mode:o}"))?;
    rows.row("debug.default", "0", text_of(PARAMETER))?;
    for (value, seen) in writes(
        PARAMETER,
        &[
            "8",
            "0x10",
            "010",
            "4294967288",
            "4294967296",
            "-1",
            "x",
            "8x",
            "",
            " 8",
        ],
    )? {
        rows.as_c(format!("debug.write.{value:?}"), seen)?;
    }
    Ok(())
}

fn sysctl(_: &Context, rows: &mut Rows) -> Result<()> {
    let mode = fs::metadata(INJECTION)?.permissions().mode() & 0o7777;
    rows.row("error_injection.mode", "644", format!("{mode:o}"))?;
    rows.row("error_injection.default", "0", text_of(INJECTION))?;
    let mut names = Vec::new();
    for entry in fs::read_dir("/proc/sys/cachefiles")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    rows.row("sysctls", "error_injection", names.join(" "))?;
    for (value, seen) in writes(
        INJECTION,
        &[
            "1",
            "2",
            "3",
            "4294967295",
            "4294967296",
            "-1",
            "x",
            "",
            "0x2",
        ],
    )? {
        rows.as_c(format!("error_injection.write.{value:?}"), seen)?;
    }
    Ok(())
}

fn loading_and_unloading(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut log = KernelLog::from_now()?;
    rows.row("references.unused", "0", sys::module_references()?)?;
    let device = ctx.device()?;
    rows.row("references.open", "1", sys::module_references()?)?;
    rows.row("rmmod.open", "EAGAIN", said(sys::remove_module()))?;
    drop(device);
    for (mode, bind) in MODES {
        let device = bound(ctx, bind)?;
        rows.as_c(
            format!("references.bound.{mode}"),
            sys::module_references()?,
        )?;
        rows.row(
            format!("rmmod.bound.{mode}"),
            "EAGAIN",
            said(sys::remove_module()),
        )?;
        drop(device);
    }
    logged(&mut log)?;
    rows.row("rmmod.unused", "ok", said(sys::remove_module()))?;
    rows.row("log.unloading", "Unloading", logged(&mut log)?)?;
    let left: Vec<&str> = [
        "/dev/cachefiles",
        "/proc/sys/cachefiles",
        "/sys/kernel/tracing/events/cachefiles",
    ]
    .into_iter()
    .filter(|path| Path::new(path).exists())
    .collect();
    rows.row(
        "rmmod.leaves",
        "nothing",
        if left.is_empty() {
            "nothing".into()
        } else {
            left.join(" ")
        },
    )?;
    ctx.load_own_module()?;
    rows.row("log.loaded", "Loaded", logged(&mut log)?)?;
    for _ in 0..5 {
        ctx.load_own_module()?;
    }
    let seen = logged(&mut log)?;
    let times = |word: &str| seen.split("; ").filter(|line| *line == word).count();
    rows.row(
        "log.over-and-over",
        "5 times unloading, 5 times loaded",
        format!(
            "{} times unloading, {} times loaded",
            times("Unloading"),
            times("Loaded")
        ),
    )
}

/// What each bit of the mask prints is for developers; that it prints, and when, is the interface.
fn debugging_streams(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (mask, what) in [(1, "entries"), (2, "exits"), (4, "messages"), (8, "none")] {
        for (mode, bind) in MODES {
            let mut log = KernelLog::from_now()?;
            fs::write(PARAMETER, mask.to_string())?;
            drop(bound(ctx, bind)?);
            fs::write(PARAMETER, "0")?;
            let sort = if mask == 1 {
                "==> "
            } else if mask == 2 {
                "<== "
            } else {
                "    "
            };
            let lines = log.lines()?;
            let count = lines
                .iter()
                .filter(|line| line.starts_with('[') && line.contains(&format!("] {sort}")))
                .count();
            let seen = if count > 0 { "lines" } else { "silence" };
            rows.as_c(format!("debug.stream.{what}.{mode}"), seen)?;
        }
    }
    Ok(())
}
