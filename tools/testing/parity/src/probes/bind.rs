// SPDX-License-Identifier: GPL-2.0
//! `bind` in both modes: what it refuses before it looks at the directory, and what a refusal
//! leaves.

use std::fs;

use anyhow::Result;
use cachefiles_harness::context::Context;
use cachefiles_harness::kmsg::KernelLog;
use cachefiles_harness::sys;
use cachefiles_protocol::Device;

use crate::observe::{command, each, logged, said, value};
use crate::probe::{Probe, Rows, probe};
use crate::world::{MODES, bound, device_with, injecting};

pub const PROBES: &[Probe] = &[
    probe!("bind", refusals),
    probe!("bind", after_a_refusal),
    probe!("bind", injected_errors),
    probe!("bind", over_and_over),
];

/// Which mode a device is in, by what `restore` says of it.
fn mode_of(device: &Device) -> String {
    match command(device, "restore").as_str() {
        "ok" => "on-demand".into(),
        "EOPNOTSUPP" => "original".into(),
        other => other.into(),
    }
}

fn refusals(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (mode, bind) in MODES {
        rows.row(
            format!("EINVAL.no-directory.{mode}"),
            "EINVAL",
            command(&ctx.device()?, bind),
        )?;
        let device = bound(ctx, bind)?;
        rows.row(
            format!("{mode}.mode"),
            if mode == "original" {
                mode
            } else {
                "on-demand"
            },
            mode_of(&device),
        )?;
        let again = ["bind", "bind ondemand", "bind nonsense"];
        let results = again.map(|text| (text.to_owned(), command(&device, text)));
        rows.row(format!("EBUSY.{mode}"), "EBUSY", each(results))?;
        rows.as_c(format!("EBUSY.keeps-the-mode.{mode}"), mode_of(&device))?;
        drop(device);
        let device = device_with(ctx, &["dir /cache"])?;
        let length = rustix::io::write(&device, bind.as_bytes());
        rows.row(
            format!("{mode}.length"),
            &bind.len().to_string(),
            value(length),
        )?;
    }
    rows.row(
        "EINVAL.no-directory.argument",
        "EINVAL",
        command(&ctx.device()?, "bind nonsense"),
    )?;
    let device = device_with(ctx, &["dir /cache"])?;
    let bad = [
        "bind nonsense",
        "bind on-demand",
        "bind ondemand ",
        "bind ondemand x",
        "bind Ondemand",
        "bind ondemandx",
        "bind ondeman",
    ];
    let results = bad.map(|text| (text.to_owned(), command(&device, text)));
    rows.row("EINVAL.argument", "EINVAL", each(results))?;
    rows.row(
        "EINVAL.argument.then-bind",
        "ok",
        command(&device, "bind  ondemand\n"),
    )
}

fn after_a_refusal(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (mode, bind) in MODES {
        for (then, second) in MODES {
            // At first the directory is not there.
            let device = device_with(ctx, &["dir /cache/later"])?;
            let refused = command(&device, bind);
            let name = format!("{mode}.then.{then}");
            let state = [
                command(&device, "restore"),
                command(&device, "copen 0,1"),
                command(&device, "cull x"),
            ];
            rows.as_c(
                format!("refused.{name}.commands"),
                format!("{refused}; {}", state.join(", ")),
            )?;
            let mut buffer = [0; 1024];
            rows.row(
                format!("refused.{name}.read"),
                "0",
                value(rustix::io::read(&device, &mut buffer)),
            )?;
            fs::create_dir_all("/cache/later")?;
            let accepted = command(&device, second);
            let seen = format!("{accepted}, {}", mode_of(&device));
            let expect = if then == "original" {
                "ok, original"
            } else {
                "ok, on-demand"
            };
            rows.row(format!("refused.{name}"), expect, seen)?;
            drop(device);
            fs::remove_dir_all("/cache/later")?;
        }
    }
    Ok(())
}

/// EIO or ENOSPC where directories are looked up and made.
fn injected_errors(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (mode, bind) in MODES {
        for (value, errno) in [("1", "ENOSPC"), ("2", "EIO")] {
            let dir = format!("/cache/{mode}-{errno}");
            fs::create_dir_all(&dir)?;
            let device = device_with(ctx, &[&format!("dir {dir}")])?;
            let mut log = KernelLog::from_now()?;
            let seen = injecting(value, || command(&device, bind))?;
            rows.row(format!("{errno}.{mode}"), errno, seen)?;
            rows.as_c(format!("{errno}.{mode}.log"), logged(&mut log)?)?;
            rows.row(
                format!("{errno}.{mode}.then-bind"),
                "ok",
                command(&device, bind),
            )?;
        }
    }
    Ok(())
}

fn over_and_over(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (mode, bind) in MODES {
        let mut results = Vec::new();
        for number in 0..10 {
            let device = bound(ctx, bind)?;
            let removed = said(sys::remove_module());
            let references = sys::module_references()?;
            drop(device);
            let after = sys::module_references()?;
            results.push((
                number.to_string(),
                format!("rmmod {removed}, references {references}, then {after}"),
            ));
        }
        rows.as_c(format!("10-times.{mode}"), each(results))?;
    }
    Ok(())
}
