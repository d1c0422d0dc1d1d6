// SPDX-License-Identifier: GPL-2.0
//! Tracepoints: names, fields and text are what tools parse.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, mount};

use super::events::EVENTS;
use crate::context::Context;
use crate::image::{BLOCK, Builder, pattern};
use crate::registry::{Skip, Test, test};
use crate::session::Session;

pub const TESTS: &[Test] = &[
    test!(
        tracepoints_have_the_known_names_fields_and_text,
        "tracing scripts go on working"
    ),
    test!(
        tracepoints_of_a_mount_fire,
        "the path of an on-demand read can be traced"
    ),
    test!(
        tracepoints_carry_the_ids_and_ranges_of_the_messages,
        "FAULTS 15: a trace can be matched with a daemon's log"
    )
    .c_fails("messages are traced before their ids are set"),
    test!(
        trace_of_a_short_attribute_shows_no_stale_memory,
        "LATER 3: what was not read is not traced"
    )
    .c_fails("what lay in the allocated memory is traced"),
    test!(
        on_demand_read_over_holes_is_not_shortened,
        "FAULTS 18: EROFS gets all that it asks for at once, and never splits a bio"
    )
    .c_fails("a read ends at the first boundary between data and a hole"),
];

/// The tracing directory, mounted here if nobody has done so.
fn tracing() -> Result<PathBuf> {
    let dir = Path::new("/sys/kernel/tracing");
    if !dir.exists() {
        return Err(Skip("the kernel has no tracing".into()).into());
    }
    if !dir.join("events").exists() {
        mount("none", dir, c"tracefs", MountFlags::empty(), None).context("mounting tracefs")?;
    }
    Ok(dir.to_owned())
}

fn tracepoints_have_the_known_names_fields_and_text(_: &Context) -> Result<()> {
    let dir = tracing()?.join("events/cachefiles");
    let mut faults = Vec::new();
    for event in EVENTS {
        let path = dir
            .join(format!("cachefiles_{}", event.name))
            .join("format");
        let Ok(format) = fs::read_to_string(&path) else {
            faults.push(format!("{} is missing", event.name));
            continue;
        };
        let fields: Vec<&str> = format
            .lines()
            .filter_map(|line| line.trim().strip_prefix("field:")?.split(';').next())
            .filter(|field| !field.contains(" common_"))
            .collect();
        if fields != event.fields {
            faults.push(format!("{} has the fields {fields:?}", event.name));
        }
        let text = format
            .split_once("print fmt: \"")
            .and_then(|(_, text)| text.split_once('"'));
        if text.map(|(text, _)| text) != Some(event.text) {
            faults.push(format!("{} prints {text:?}", event.name));
        }
    }
    let entries = fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))?;
    let count = entries
        .filter_map(|entry| Some(entry.ok()?.file_type().ok()?.is_dir()))
        .filter(|is_dir| *is_dir)
        .count();
    if count != EVENTS.len() {
        faults.push(format!("{count} tracepoints instead of {}", EVENTS.len()));
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Does `work` with the module's tracepoints on, and returns the trace.
fn trace_of(work: impl FnOnce() -> Result<()>) -> Result<String> {
    trace_of_events(&["cachefiles"], work)
}

/// The same with other tracepoints, or directories of such.
pub fn trace_of_events(events: &[&str], work: impl FnOnce() -> Result<()>) -> Result<String> {
    let dir = tracing()?;
    let switch = |to| {
        events.iter().try_for_each(|event| {
            let enable = dir.join("events").join(event).join("enable");
            fs::write(&enable, to).with_context(|| format!("switching {event}"))
        })
    };
    fs::write(dir.join("trace"), "")?;
    switch("1")?;
    let done = work();
    switch("0")?;
    let trace = fs::read_to_string(dir.join("trace"))?;
    fs::write(dir.join("trace"), "")?;
    done.map(|()| trace)
}

/// Mounts, reads, and unmounts twice, with the tracepoints on. Returns the session and the trace.
fn traced(ctx: &Context) -> Result<(Session, String)> {
    let image = Builder::new()
        .device("blob")
        .chunked("file", pattern(1, 8 * BLOCK), 8, &[Some(1)])
        .build();
    let mut session = ctx.session("traced", &image)?;
    let trace = trace_of(|| {
        for _ in 0..2 {
            let mount = session.mount(&ctx.mount_point("traced"), "fsid=traced")?;
            session.check_files(&mount, &image)?;
            session.unmount(mount)?;
            session.settle()?;
        }
        Ok(())
    })?;
    Ok((session, trace))
}

fn tracepoints_of_a_mount_fire(ctx: &Context) -> Result<()> {
    let (_, trace) = traced(ctx)?;
    let fired: BTreeSet<&str> = trace
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix("cachefiles_"))
        })
        .filter_map(|word| word.strip_suffix(':'))
        .collect();
    let expected = [
        "ref",
        "lookup",
        "mkdir",
        "tmpfile",
        "link",
        "coherency",
        "vol_coherency",
        "prep_read",
        "read",
        "write",
        "trunc",
        "mark_active",
        "mark_inactive",
        "ondemand_open",
        "ondemand_copen",
        "ondemand_close",
        "ondemand_read",
        "ondemand_cread",
        "ondemand_fd_write",
        "ondemand_fd_release",
    ];
    let missing: Vec<&str> = expected
        .into_iter()
        .filter(|name| !fired.contains(name))
        .collect();
    ensure!(missing.is_empty(), "these did not fire: {missing:?}");
    let errors = ["mark_failed", "vfs_error", "io_error"];
    let wrong: Vec<&str> = errors
        .into_iter()
        .filter(|name| fired.contains(name))
        .collect();
    ensure!(wrong.is_empty(), "these fired: {wrong:?}\n{trace}");
    Ok(())
}

fn tracepoints_carry_the_ids_and_ranges_of_the_messages(ctx: &Context) -> Result<()> {
    let (session, trace) = traced(ctx)?;
    let has = |event: &str, what: &str| {
        trace.lines().any(|line| {
            line.split_once(&format!(" cachefiles_{event}: "))
                .is_some_and(|(_, text)| format!("{text} ").contains(&format!("{what} ")))
        })
    };
    for (message, object, _) in &session.log.opens {
        ensure!(
            has("ondemand_open", &format!("oid={object:x}")),
            "no open of {object}"
        );
        ensure!(
            has("ondemand_copen", &format!("mid={message:x}")),
            "no copen of {message}"
        );
    }
    for read in &session.log.reads {
        let range = format!("s={:x} l={:x}", read.off, read.len);
        let what = format!("oid={:x} {range}", read.object_id);
        ensure!(has("ondemand_read", &what), "no read with {what}");
        ensure!(has("ondemand_fd_write", &range), "no write with {range}");
        ensure!(
            has("ondemand_cread", &format!("mid={:x}", read.msg_id)),
            "no cread"
        );
    }
    for object in &session.log.closes {
        ensure!(
            has("ondemand_fd_release", &format!("oid={object:x}")),
            "no release of {object}"
        );
    }
    Ok(())
}

fn on_demand_read_over_holes_is_not_shortened(ctx: &Context) -> Result<()> {
    let mut builder = Builder::new().device("one-hole").device("many-holes");
    for (place, name) in [(1, "one-hole"), (2, "many-holes")] {
        let data = pattern(place.into(), 16 * BLOCK);
        builder = builder.chunked(name, data, 16, &[Some(place)]);
    }
    let image = builder.build();
    let mut session = ctx.session("holes", &image)?;
    let mount = session.mount(&ctx.mount_point("holes"), "fsid=holes")?;
    super::mount::fill_every(&mut session, b"many-holes", 2)?;
    let mut asked = Vec::new();
    // Nothing is shortened where all is one hole: so often EROFS has to ask for a file of this
    // size.
    for name in ["one-hole", "many-holes"] {
        session.look_up(&mount.file(name))?;
        let trace = trace_of(|| {
            let data = session.read_file(&mount.file(name))?;
            ensure!(data == image.files[name], "wrong content");
            Ok(())
        })?;
        asked.push(trace.matches(" cachefiles_prep_read: ").count());
    }
    session.unmount(mount)?;
    session.settle()?;
    ensure!(
        asked[0] > 0 && asked[0] == asked[1],
        "EROFS asked {} times for one hole, {} times for many",
        asked[0],
        asked[1]
    );
    Ok(())
}

fn trace_of_a_short_attribute_shows_no_stale_memory(ctx: &Context) -> Result<()> {
    const COUNT: u16 = 20;
    let mut builder = Builder::new();
    for number in 1..=COUNT {
        builder = builder.device(format!("blob-{number}"));
    }
    let image = builder.plain("file", pattern(1, BLOCK)).build();
    let mut session = ctx.session("stale", &image)?;
    let point = ctx.mount_point("stale");
    for round in 0..2 {
        let trace = trace_of(|| {
            let mount = session.mount(&point, "fsid=stale")?;
            session.unmount(mount)?;
            session.settle()
        })?;
        if round == 0 {
            for number in 1..=COUNT {
                let key = format!("blob-{number}");
                let path = cachefiles_protocol::key_path(b"erofs,stale", key.as_bytes());
                let path = Path::new(crate::sys::CACHE).join(path);
                let (name, flags) = ("user.CacheFiles.cache", rustix::fs::XattrFlags::REPLACE);
                rustix::fs::setxattr(&path, name, b"short", flags)
                    .with_context(|| format!("spoiling the attribute of {}", path.display()))?;
            }
            continue;
        }
        let checks: Vec<&str> = trace
            .lines()
            .filter(|line| line.contains(" cachefiles_coherency: ") && line.contains("BAD"))
            .collect();
        ensure!(
            checks.len() == usize::from(COUNT),
            "{} bad attributes in {trace}",
            checks.len()
        );
        let wrong: Vec<_> = checks
            .iter()
            .filter(|line| !line.contains(" c=0"))
            .collect();
        ensure!(wrong.is_empty(), "{wrong:#?}");
    }
    Ok(())
}
