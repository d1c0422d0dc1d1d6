// SPDX-License-Identifier: GPL-2.0
//! Options that become commands of the module: what they do, and what is said where it has none.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, kill_process};

use super::program::{Daemon, check, ctl, put, unmount};
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Module, Test, test};
use crate::session::Mount;
use crate::share::drop_caches;
use crate::sys;
use crate::task::{read_in_background, soon};

pub const TESTS: &[Test] = &[
    test!(
        daemon_lingers_and_the_next_one_takes_over,
        "supervisor and worker killed at once cost no reader an error"
    )
    .c_skips("there is no `linger`: readers get errors")
    .limit(90),
    test!(
        daemon_that_stops_for_good_leaves_no_cache_that_lingers,
        "the module may go when the service has been stopped"
    )
    .c_skips("there is no `linger`")
    .limit(60),
    test!(
        daemon_has_the_kernel_ask_ahead,
        "an operator can have the latency of a distant server hidden"
    )
    .c_skips("there is no `readahead`")
    .limit(90),
    test!(
        daemon_is_not_asked_for_blobs_that_are_there,
        "warm images are mounted while the daemon does not answer"
    )
    .c_skips("there is no `daemonless`")
    .limit(90),
    test!(
        daemon_says_what_the_module_does_not_have,
        "an operator learns that an option does nothing before it is needed"
    )
    .limit(60),
];

const FSID: &str = "app";
/// Of the file that is read ahead of.
const LARGE: usize = 4 << 20;

fn image() -> Image {
    Builder::new()
        .plain("small", pattern(1, 64 * BLOCK))
        .plain("large", pattern(2, LARGE))
        .build()
}

fn started(ctx: &Context, more: &[&str]) -> Result<(Daemon, Mount)> {
    put(ctx, FSID, &image())?;
    let daemon = Daemon::start(ctx, more)?;
    let mount = daemon.mount(ctx, FSID)?;
    Ok((daemon, mount))
}

fn end(daemon: Daemon, mount: Mount) -> Result<()> {
    unmount(mount)?;
    daemon.stop()
}

/// Kills the supervisor, and its worker with it.
fn kill(daemon: &Daemon) -> Result<()> {
    let worker = daemon.worker()?;
    daemon.signal(Signal::KILL)?;
    kill_process(worker, Signal::KILL).context("killing the worker")?;
    daemon.ended().map(drop)
}

fn daemon_lingers_and_the_next_one_takes_over(ctx: &Context) -> Result<()> {
    let metrics = ctx.work.join("metrics");
    let metrics = metrics.to_str().context("a path that is no text")?;
    let options = ["--linger", "600", "--metrics", metrics];
    let (first, mount) = started(ctx, &options)?;
    check(&mount, "small", &image().files["small"])?;
    let said = ctl(&["status", "--dir", sys::CACHE, "--metrics", metrics])?;
    ensure!(said.contains("no timeout, linger 600 s"), "it says: {said}");
    kill(&first)?;
    // Nobody has the device, and this is not cached.
    let reader = read_in_background(&mount.file("large"));
    let second = Daemon::start(ctx, &options)?;
    let data = reader.finish()?.context("a reader in between")?;
    ensure!(data == image().files["large"], "it read other content");
    end(second, mount)
}

fn daemon_that_stops_for_good_leaves_no_cache_that_lingers(ctx: &Context) -> Result<()> {
    let (daemon, mount) = started(ctx, &["--linger", "600"])?;
    end(daemon, mount)?;
    sys::wait_until_unused(soon())
}

/// The end of the farthest READ in the log, in bytes.
fn farthest(daemon: &Daemon) -> u64 {
    let number = |line: &str, name: &str| -> Option<u64> {
        let rest = line.split(name).nth(1)?;
        rest.split(' ').next()?.parse().ok()
    };
    let lines = daemon.lines_with(&["READ read.msg_id"]);
    let ends = lines
        .iter()
        .filter_map(|line| Some(number(line, "off=")? + number(line, "len=")?));
    ends.max().unwrap_or(0)
}

fn daemon_has_the_kernel_ask_ahead(ctx: &Context) -> Result<()> {
    let options = ["--readahead", "2048", "--log-level", "debug"];
    let (daemon, mount) = started(ctx, &options)?;
    let mut file = File::open(mount.file("large"))?;
    let mut data = vec![0; 1 << 20];
    file.read_exact(&mut data)?;
    ensure!(data == image().files["large"][..1 << 20], "other content");
    // What the page cache reads ahead by itself is 128 KiB.
    sys::wait_for("READs far ahead", soon(), || farthest(&daemon) > 2 << 20)?;
    drop(file);
    end(daemon, mount)
}

fn daemon_is_not_asked_for_blobs_that_are_there(ctx: &Context) -> Result<()> {
    // In units so large that what lies between the files is fetched with them.
    let options = [
        "--daemonless",
        "--fetch-unit",
        "1024",
        "--log-level",
        "debug",
    ];
    let (daemon, mount) = started(ctx, &options)?;
    let said = ctl(&["prefetch", FSID])?;
    ensure!(said.contains(": 2 files, "), "it says: {said}");
    unmount(mount)?;
    drop_caches()?;
    let opens = || daemon.lines_with(&["OPEN msg_id"]).len();
    let before = opens();
    ensure!(before > 0, "it says: {}", daemon.log());
    // For a moment the kernel is still at putting the first one away.
    let mut mounted = None;
    sys::wait_for("the next mount", soon(), || {
        mounted = daemon.try_mount(ctx, FSID).ok().and_then(Result::ok);
        mounted.is_some()
    })?;
    let mount = mounted.context("no mount")?;
    check(&mount, "large", &image().files["large"])?;
    ensure!(opens() == before, "it was asked: {}", daemon.log());
    end(daemon, mount)
}

fn daemon_says_what_the_module_does_not_have(ctx: &Context) -> Result<()> {
    put(ctx, FSID, &image())?;
    let daemon = Daemon::start(ctx, &["--readahead", "1024", "--daemonless", "--mixed"])?;
    let warns = |daemon: &Daemon, command: &str| {
        let words = ["has no command", command, "cachefiles-rs has it since"];
        !daemon.lines_with(&words).is_empty()
    };
    let bound = daemon.lines_with(&[
        "cache bound to",
        "daemonless",
        "mixed",
        "readahead 1024 KiB",
    ]);
    let is_ours = matches!(ctx.module(), Module::Rust);
    for command in ["`readahead`", "`daemonless`", "`mixed`"] {
        ensure!(warns(&daemon, command) != is_ours, "{}", daemon.log());
    }
    ensure!(bound.is_empty() != is_ours, "{}", daemon.log());
    // It serves all the same.
    let mount = daemon.mount(ctx, FSID)?;
    check(&mount, "small", &image().files["small"])?;
    end(daemon, mount)?;
    if is_ours {
        return Ok(());
    }
    for option in ["--linger", "--timeout"] {
        let daemon = Daemon::spawn(ctx, "refused", &[option, "5"])?;
        ensure!(!daemon.ended()?.success(), "it goes on without {option}");
        let command = format!("`{}`", option.trim_start_matches('-'));
        ensure!(warns(&daemon, &command), "{}", daemon.log());
    }
    Ok(())
}
