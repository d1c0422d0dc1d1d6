// SPDX-License-Identifier: GPL-2.0
//! `/proc/fs/fscache`: counters and tables belong to netfs, and move as they do with the C module.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use cachefiles_harness::context::Context;

use crate::probe::{Probe, Rows, probe};
use crate::world::{FSID, MODES, bound, image, mounted, unmount};

pub const PROBES: &[Probe] = &[probe!("proc", tables), probe!("proc", ondemand_counters)];

/// The counters, line by line.
pub struct Stats(BTreeMap<String, Vec<(String, i64)>>);

impl Stats {
    /// As they are now.
    pub fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/fs/fscache/stats")?;
        let lines = text.lines().filter_map(|line| {
            let (group, fields) = line.split_once(':')?;
            let fields = fields
                .split_whitespace()
                .filter_map(|field| {
                    let (name, value) = field.split_once('=')?;
                    Some((name.to_owned(), value.parse().ok()?))
                })
                .collect();
            Some((group.trim().to_owned(), fields))
        });
        Ok(Self(lines.collect()))
    }

    /// A row for each line: how far each counter went since `before`.
    pub fn record(&self, rows: &mut Rows, what: &str, before: &Self) -> Result<()> {
        // How many requests there are at the moment is no count of what happened.
        for (group, fields) in self.0.iter().filter(|(group, _)| *group != "Objs") {
            let past = before.0.get(group);
            let moved: Vec<String> = fields
                .iter()
                .enumerate()
                // A time, not a count.
                .filter(|(_, (name, _))| !(group == "LRU" && name == "at"))
                .map(|(index, (name, value))| {
                    let past = past
                        .and_then(|past| past.get(index))
                        .map_or(0, |past| past.1);
                    format!("{name}={}", value - past)
                })
                .collect();
            rows.as_c(format!("{what}.{group}"), moved.join(" "))?;
        }
        Ok(())
    }
}

/// A table's lines without the ids in its first columns.
pub fn table(name: &str, skip: usize) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/fs/fscache/{name}"))?;
    let mut lines: Vec<String> = text
        .lines()
        .skip(2)
        .map(|line| {
            line.split_whitespace()
                .skip(skip)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    lines.sort();
    Ok(if lines.is_empty() {
        "empty".into()
    } else {
        lines.join("\n")
    })
}

fn tables(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (mode, bind) in MODES {
        let device = bound(ctx, bind)?;
        rows.as_c(format!("caches.{mode}"), table("caches", 1)?)?;
        drop(device);
    }
    let (mut session, mount) = mounted(ctx)?;
    session.check_files(&mount, &image())?;
    rows.as_c("caches.mounted", table("caches", 1)?)?;
    rows.as_c("volumes.mounted", table("volumes", 1)?)?;
    rows.as_c("cookies.mounted", table("cookies", 2)?)?;
    unmount(&mut session, mount)?;
    rows.as_c("caches.unmounted", table("caches", 1)?)?;
    rows.row("cookies.unmounted", "empty", table("cookies", 2)?)?;
    rows.row("volumes.unmounted", "empty", table("volumes", 1)?)?;
    drop(session);
    rows.row("caches.unbound", "empty", table("caches", 1)?)
}

fn ondemand_counters(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let before = Stats::now()?;
    let (mut session, mount) = mounted(ctx)?;
    session.check_files(&mount, &image())?;
    unmount(&mut session, mount)?;
    let cold = Stats::now()?;
    cold.record(rows, "stats.ondemand.cold", &before)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.check_files(&mount, &image())?;
    unmount(&mut session, mount)?;
    Stats::now()?.record(rows, "stats.ondemand.warm", &cold)
}
