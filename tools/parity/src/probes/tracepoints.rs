// SPDX-License-Identifier: GPL-2.0
//! All tracepoints: their formats, and what they say of an on-demand workload.

use std::fs;

use anyhow::Result;
use cachefiles_selftests::context::Context;

use crate::probe::{Probe, Rows, probe};
use crate::trace::{EVENTS, Trace, Tracing, brief, tracing};
use crate::world::{FSID, image, mounted, unmount};

pub const PROBES: &[Probe] = &[
    probe!("tracepoint", formats),
    probe!("trace", ondemand_workload),
];

fn formats(_: &Context, rows: &mut Rows) -> Result<()> {
    let dir = tracing()?.join("events/cachefiles");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    let mut expected: Vec<String> = EVENTS
        .iter()
        .map(|event| format!("cachefiles_{event}"))
        .collect();
    names.sort();
    expected.sort();
    rows.row("names", &expected.join(" "), names.join(" "))?;
    for event in EVENTS {
        let text = fs::read_to_string(dir.join(format!("cachefiles_{event}")).join("format"))
            .unwrap_or_default();
        // The event's number is given at load.
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("ID:"))
            .collect();
        rows.as_c(format!("{event}.format"), lines.join("\n"))?;
    }
    Ok(())
}

pub fn record(rows: &mut Rows, step: &str, trace: &Trace) -> Result<()> {
    for event in EVENTS {
        rows.as_c(format!("{step}.{event}"), brief(&trace.of(event)))?;
    }
    Ok(())
}

fn ondemand_workload(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let tracing = Tracing::start()?;
    let (mut session, mount) = mounted(ctx)?;
    record(rows, "mount", &tracing.take()?)?;
    session.check_files(&mount, &image())?;
    record(rows, "cold-read", &tracing.take()?)?;
    unmount(&mut session, mount)?;
    record(rows, "unmount", &tracing.take()?)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.check_files(&mount, &image())?;
    record(rows, "warm", &tracing.take()?)?;
    unmount(&mut session, mount)?;
    record(rows, "warm-unmount", &tracing.take()?)
}
