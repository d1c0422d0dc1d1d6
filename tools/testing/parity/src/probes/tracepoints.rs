// SPDX-License-Identifier: GPL-2.0
//! All tracepoints: their formats, and what they say of an on-demand workload.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::image::pattern;
use cachefiles_harness::session::Session;
use cachefiles_harness::task::read_in_background;
use cachefiles_protocol::AlignedBuffer;

use crate::net::Net;
use crate::probe::{Probe, Rows, probe};
use crate::trace::{EVENTS, Trace, Tracing, brief, tracing};
use crate::world::{
    FSID, blob_path, filled, forget_volumes, image, injecting, mounted, unmount, within,
};

pub const PROBES: &[Probe] = &[
    probe!("tracepoint", formats),
    probe!("trace", ondemand_workload),
    probe!("trace", original_workload),
    probe!("trace", failing_workload),
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

/// The names of the tracepoints that fired in a workload.
type Seen = BTreeSet<&'static str>;

/// Which of the tracepoints fired at all.
fn which_were_seen(rows: &mut Rows, workload: &str, seen: &Seen) -> Result<()> {
    for event in EVENTS {
        rows.as_c(format!("seen.{workload}.{event}"), seen.contains(event))?;
    }
    Ok(())
}

/// The rows of a step: for each tracepoint what it said, object by object; and in which order those
/// of an object came. References are counted, for they are taken and given back at any time, and so
/// are directories that are let go; and the release of an fd is the daemon's doing, which nothing
/// waits for.
fn record(rows: &mut Rows, seen: &mut Seen, step: &str, trace: &Trace) -> Result<()> {
    for event in EVENTS {
        let mut texts = trace.of(event);
        if !texts.is_empty() {
            seen.insert(event);
        }
        if event == "ref" {
            texts.sort_unstable();
            let of_requests = |text: &&str| text.ends_with("ioreq") || text.ends_with("read_req");
            let (requests, objects): (Vec<&str>, Vec<&str>) =
                texts.into_iter().partition(of_requests);
            rows.as_c(format!("{step}.ref.requests"), brief(&requests))?;
            texts = objects;
        } else if event == "mark_inactive" {
            texts.sort_unstable();
        } else if event == "coherency" && step == "original.write" {
            // Where the first write comes before the worker has marked the file as dirty, our
            // module marks it there and then, and the worker may do it once more.
            texts.dedup();
        }
        rows.as_c(format!("{step}.{event}"), brief(&texts))?;
    }
    for object in trace.objects() {
        let mut without = vec!["ref", "ondemand_fd_release"];
        if step == "original.write" {
            // That the file is being written to is noted by a worker, before or after the next
            // read.
            without.push("coherency");
        }
        let order = trace.order(object, &without);
        rows.as_c(format!("{step}.order.o{object}"), brief(&order))?;
    }
    Ok(())
}

fn ondemand_workload(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut tracing, mut seen) = (Tracing::start()?, Seen::new());
    let (mut session, mount) = mounted(ctx)?;
    record(rows, &mut seen, "ondemand.mount", &tracing.take()?)?;
    session.check_files(&mount, &image())?;
    record(rows, &mut seen, "ondemand.cold-read", &tracing.take()?)?;
    unmount(&mut session, mount)?;
    record(rows, &mut seen, "ondemand.unmount", &tracing.take()?)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.check_files(&mount, &image())?;
    record(rows, &mut seen, "ondemand.warm-read", &tracing.take()?)?;
    unmount(&mut session, mount)?;
    record(rows, &mut seen, "ondemand.warm-unmount", &tracing.take()?)?;
    forget_volumes()?;
    failover(ctx, rows, &mut session, &mut tracing, &mut seen)?;
    drop(session);
    record(rows, &mut seen, "ondemand.unbind", &tracing.take()?)?;
    which_were_seen(rows, "ondemand", &seen)
}

/// The daemon dies with a READ that it has taken, and the next one writes `restore`.
fn failover(
    ctx: &Context,
    rows: &mut Rows,
    session: &mut Session,
    tracing: &mut Tracing,
    seen: &mut Seen,
) -> Result<()> {
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.hold_data(FSID, &image());
    let reader = read_in_background(&mount.file("file"));
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    tracing.take()?;
    // Only the object that is read: the other would be reopened when the daemon gets to it.
    let (blob, _) = session.object_of(b"blob")?;
    session.objects.remove(&blob);
    session.held.clear();
    session.device.restore()?;
    session.hold_reads = None;
    session.pump_until("the reader", |_| reader.is_done())?;
    reader.finish()??;
    record(rows, seen, "ondemand.failover", &tracing.take()?)?;
    let path = blob_path();
    let (dir, name) = (
        path.parent().context("no parent")?,
        path.file_name().context("no name")?,
    );
    let cull = format!("cull {}", name.to_string_lossy());
    unmount(session, mount)?;
    tracing.take()?;
    within(dir, || session.device.command(&cull))?.context("cull of a file")?;
    let store = dir.parent().and_then(Path::parent).context("no store")?;
    let volume = dir
        .parent()
        .and_then(Path::file_name)
        .context("no volume")?;
    let cull = format!("cull {}", volume.to_string_lossy());
    within(store, || session.device.command(&cull))?.context("cull of a volume")?;
    record(rows, seen, "ondemand.cull", &tracing.take()?)
}

/// What a client does between mount and unmount.
type Step = fn(&Net) -> Result<()>;

/// A file is written, read, changed and taken away, by a client of a network file system.
fn original_workload(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (mut tracing, mut seen) = (Tracing::start()?, Seen::new());
    let mut net = Net::new(ctx, &["dir /cache", "tag selftest", "bind"])?;
    net.serve("file", &pattern(1, 73_728))?;
    record(rows, &mut seen, "original.bind", &tracing.take()?)?;
    // Each step ends with the unmount: by then all that goes on in the background is done.
    let steps: [(&str, Step); 9] = [
        ("cold-read", |net| net.read("file").map(drop)),
        ("warm-read", |net| net.read("file").map(drop)),
        ("write", |net| {
            net.write_at("file", 4000, &[7; 5000])?;
            net.sync("file")
        }),
        ("truncate", |net| net.truncate("file", 8192)),
        ("extend", |net| {
            net.truncate("file", 20_480)?;
            net.read("file").map(drop)
        }),
        ("create", |net| {
            net.create_looked_up("new", &pattern(2, 12_288))?;
            net.sync("new")
        }),
        ("overwrite", |net| {
            net.create("file", &pattern(4, 32_768))?;
            net.sync("file")
        }),
        ("direct-write", |net| net.write_directly("file", 8192, 4096)),
        ("remove", |net| {
            net.read("new")?;
            net.remove("new")
        }),
    ];
    for (name, step) in steps {
        net.mount()?;
        step(&net)?;
        net.unmount()?;
        record(
            rows,
            &mut seen,
            &format!("original.{name}"),
            &tracing.take()?,
        )?;
    }
    net.serve("file", &pattern(3, 36_864))?;
    net.mount()?;
    net.read("file")?;
    net.unmount()?;
    record(
        rows,
        &mut seen,
        "original.change-on-server",
        &tracing.take()?,
    )?;
    for path in net.stored()? {
        let (dir, name) = (
            path.parent().context("no parent")?,
            path.file_name().context("no name")?,
        );
        let cull = format!("cull {}", name.to_string_lossy());
        let device = net.device()?;
        within(dir, || device.command(&cull))?.context("cull")?;
    }
    record(rows, &mut seen, "original.cull", &tracing.take()?)?;
    drop(net);
    record(rows, &mut seen, "original.unbind", &tracing.take()?)?;
    which_were_seen(rows, "original", &seen)
}

/// What goes wrong: a file that is in use already, and a disk that fails.
fn failing_workload(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let mut session = filled(ctx)?;
    let (mut tracing, mut seen) = (Tracing::start()?, Seen::new());
    let path = blob_path();
    let dir = path.parent().context("no parent")?;
    // What is culled under one name stays marked under the other.
    fs::hard_link(&path, dir.join("link"))?;
    within(dir, || session.device.command("cull link"))?.context("cull of a link")?;
    let options = format!("fsid={FSID}");
    let mount = session.try_mount(&ctx.mount_point(FSID), options.as_bytes())?;
    let mount = mount.context("mount")?;
    // It fails, for there is no object.
    let reader = read_in_background(&mount.file("file"));
    session.pump_until("the reader", |_| reader.is_done())?;
    unmount(&mut session, mount)?;
    record(rows, &mut seen, "failing.in-use", &tracing.take()?)?;
    forget_volumes()?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    tracing.take()?;
    let page = AlignedBuffer::new(4096);
    let object = &session.object_of(b"blob")?.1.fd;
    for error in ["1", "2"] {
        // That it fails is seen elsewhere.
        let _ = injecting(error, || object.write_at(&page, 0))?;
        record(
            rows,
            &mut seen,
            &format!("failing.injected-{error}.write"),
            &tracing.take()?,
        )?;
    }
    unmount(&mut session, mount)?;
    tracing.take()?;
    crate::world::fail_to_cull(&session.device)?;
    record(rows, &mut seen, "failing.injected-2.cull", &tracing.take()?)?;
    which_were_seen(rows, "failing", &seen)
}
