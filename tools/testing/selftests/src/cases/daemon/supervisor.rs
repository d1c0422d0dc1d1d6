// SPDX-License-Identifier: GPL-2.0
//! The supervisor: killed, told to reload, told to stop, started twice.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::program::{Daemon, check, put, unmount};
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::Mount;
use crate::sys;
use crate::task::{soon, state};

pub const TESTS: &[Test] = &[
    test!(
        daemon_supervisor_killed_is_succeeded_by_another,
        "U5: the way out of a supervisor's death costs no mount"
    )
    .limit(90),
    test!(
        daemon_reloads_on_sighup,
        "U6: what others take for a reload does not end the service"
    )
    .limit(60),
    test!(
        daemon_stops_when_nothing_is_mounted,
        "U7: an operator's slip does not fail every mount"
    )
    .limit(60),
    test!(
        daemon_stops_at_once_if_told_so,
        "U7: whoever means it can have it"
    )
    .limit(60),
    test!(
        daemon_that_finds_the_device_busy_names_the_holder,
        "U5: whoever finds the device busy knows which process to look at"
    )
    .limit(60),
];

const FSID: &str = "app";

/// Files that are read one after the other, each for the first time.
fn image() -> Image {
    ["first", "second", "third"]
        .into_iter()
        .zip(1..)
        .fold(Builder::new(), |builder, (name, seed)| {
            builder.plain(name, pattern(seed, 64 * BLOCK))
        })
        .build()
}

fn mounted(ctx: &Context) -> Result<(Daemon, Mount)> {
    put(ctx, FSID, &image())?;
    let daemon = Daemon::start(ctx, &[])?;
    let mount = daemon.mount(ctx, FSID)?;
    check_file(&mount, "first")?;
    Ok((daemon, mount))
}

/// Whether a process runs; nobody may have waited for it yet.
fn lives(process: Pid) -> bool {
    let state = state(Path::new("/proc"), process.as_raw_pid());
    state.is_some_and(|state| state != 'Z')
}

fn check_file(mount: &Mount, name: &str) -> Result<()> {
    check(mount, name, &image().files[name])
}

fn daemon_supervisor_killed_is_succeeded_by_another(ctx: &Context) -> Result<()> {
    let (first, mount) = mounted(ctx)?;
    let worker = first.worker()?;
    first.signal(Signal::KILL)?;
    first.ended()?;
    // The worker goes on.
    check_file(&mount, "second")?;
    let second = Daemon::spawn(ctx, "second", &[])?;
    sys::wait_for("the next supervisor to serve", soon(), || {
        second.has_ended() || second.log().contains("serving")
    })?;
    ensure!(!second.has_ended(), "it ended: {}", second.log());
    ensure!(
        second.log().contains("took the device over from worker"),
        "it says: {}",
        second.log()
    );
    ensure!(!lives(worker), "the old worker lives");
    check_file(&mount, "third")?;
    // And it does what a supervisor is there for.
    let before = second.worker()?;
    kill_process(before, Signal::KILL)?;
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    check_file(&mount, "first")?;
    sys::wait_for("the next worker", soon(), || {
        second.worker().is_ok_and(|worker| worker != before)
    })?;
    unmount(mount)?;
    second.stop()
}

fn daemon_reloads_on_sighup(ctx: &Context) -> Result<()> {
    let (daemon, mount) = mounted(ctx)?;
    let before = daemon.worker()?;
    daemon.signal(Signal::HUP)?;
    check_file(&mount, "second")?;
    sys::wait_for("the next worker", soon(), || {
        daemon.worker().is_ok_and(|worker| worker != before)
    })?;
    ensure!(!daemon.has_ended(), "it ended: {}", daemon.log());
    check_file(&mount, "third")?;
    unmount(mount)?;
    daemon.stop()
}

fn daemon_stops_when_nothing_is_mounted(ctx: &Context) -> Result<()> {
    let (daemon, mount) = mounted(ctx)?;
    daemon.signal(Signal::TERM)?;
    let place = mount.path().display().to_string();
    sys::wait_for("a warning", soon(), || {
        !daemon.lines_with(&["images are in use", &place]).is_empty()
    })?;
    check_file(&mount, "second")?;
    ensure!(!daemon.has_ended(), "it ended: {}", daemon.log());
    unmount(mount)?;
    let status = daemon.ended()?;
    ensure!(status.success(), "{status}: {}", daemon.log());
    Ok(())
}

fn daemon_stops_at_once_if_told_so(ctx: &Context) -> Result<()> {
    put(ctx, FSID, &image())?;
    for (arguments, times) in [(&["--stop-in-use"][..], 1), (&[], 2)] {
        let daemon = Daemon::start(ctx, arguments)?;
        let mount = daemon.mount(ctx, FSID)?;
        for time in 0..times {
            daemon.signal(Signal::TERM)?;
            sys::wait_for("a warning", soon(), || {
                daemon.lines_with(&["images are in use"]).len() > time
            })?;
        }
        let status = daemon.ended()?;
        ensure!(status.success(), "{status}: {}", daemon.log());
        unmount(mount)?;
        sys::wait_until_unused(soon())?;
    }
    Ok(())
}

fn daemon_that_finds_the_device_busy_names_the_holder(ctx: &Context) -> Result<()> {
    let (daemon, mount) = mounted(ctx)?;
    let elsewhere = ctx.work.join("elsewhere");
    let elsewhere = elsewhere.to_str().context("a name that is no text")?;
    for arguments in [&["--runtime-dir", elsewhere][..], &[]] {
        let other = Daemon::spawn(ctx, "other", arguments)?;
        let status = other.ended()?;
        let log = other.log();
        let pid = daemon.supervisor().as_raw_nonzero();
        ensure!(status.code() == Some(1), "{status}: {log}");
        ensure!(
            log.contains(&format!("process {pid} (")) && log.contains("supervise --dir"),
            "it says: {log}"
        );
    }
    // Nothing was harmed by that.
    check_file(&mount, "second")?;
    unmount(mount)?;
    daemon.stop()
}
