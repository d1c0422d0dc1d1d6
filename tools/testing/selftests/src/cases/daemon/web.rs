// SPDX-License-Identifier: GPL-2.0
//! Blobs of a web server: it fails, the daemon is killed, a blob is replaced.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, kill_process};

use super::blobs::is_refused_as_another;
use super::program::{Daemon, check, check_eio, unmount};
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::blobs_of;
use crate::sys;
use crate::task::{read_in_background, soon};
use crate::web::{Manner, Web};

pub const TESTS: &[Test] = &[
    test!(
        daemon_serves_from_a_web_server_over_failures_and_kills,
        "a server that fails for a moment and a daemon that is killed are not seen by readers"
    )
    .limit(120),
    test!(
        daemon_blob_replaced_at_its_url_is_an_error,
        "a reader gets an error, never bytes of another blob"
    )
    .limit(60),
    test!(
        daemon_verifies_each_chunk_of_a_blob_with_an_index,
        "what does not match its digest is an error, and the rest of the blob can be read"
    )
    .limit(60),
];

const FSID: &str = "app";
const BLOB: &str = "app.blob";

/// So that one file does not come with the other.
const SMALL_UNITS: [&str; 2] = ["--fetch-unit", "4"];

/// Two files on the device, one after the other, each too long for one read-ahead.
fn image(seed: u32) -> Image {
    Builder::new()
        .device(BLOB)
        .chunked("early", pattern(seed, 64 * BLOCK), 64, &[Some(1)])
        .chunked("late", pattern(seed + 1, 64 * BLOCK), 64, &[Some(1)])
        .build()
}

fn put(web: &Web, image: &Image) -> Result<()> {
    for (key, data) in blobs_of(FSID, image) {
        web.put(&String::from_utf8(key)?, &data);
    }
    Ok(())
}

fn check_all(daemon: &Daemon, ctx: &Context, image: &Image) -> Result<()> {
    let mount = daemon.mount(ctx, FSID)?;
    for (name, data) in &image.files {
        check(&mount, name, data)?;
    }
    unmount(mount)
}

fn daemon_serves_from_a_web_server_over_failures_and_kills(ctx: &Context) -> Result<()> {
    let (web, image) = (Web::start()?, image(1));
    put(&web, &image)?;
    let daemon = Daemon::start_from_web(ctx, &web, &SMALL_UNITS)?;
    // The mount's own OPENs meet a server that is not up yet.
    web.behave_for(2, Manner::Status(503));
    let mount = daemon.mount(ctx, FSID)?;
    web.behave_for(2, Manner::Cut);
    check(&mount, "early", &image.files["early"])?;

    web.behave(Manner::Hanging);
    let before = web.requests().len();
    let reader = read_in_background(&mount.file("late"));
    sys::wait_for("a request", soon(), || web.requests().len() > before)?;
    kill_process(daemon.worker()?, Signal::KILL)?;
    web.behave_for(1, Manner::Silent);
    ensure!(
        reader.finish()?? == image.files["late"],
        "the file that was read over the kill has other content"
    );
    unmount(mount)?;
    check_all(&daemon, ctx, &image)?;
    daemon.stop()
}

fn daemon_blob_replaced_at_its_url_is_an_error(ctx: &Context) -> Result<()> {
    let (web, first, second) = (Web::start()?, image(1), image(5));
    put(&web, &first)?;
    let daemon = Daemon::start_from_web(ctx, &web, &SMALL_UNITS)?;
    let mount = daemon.mount(ctx, FSID)?;
    check(&mount, "early", &first.files["early"])?;
    // As long as the first: only its ETag tells, and the server looks at no conditions.
    put(&web, &second)?;
    web.behave(Manner::NoConditions);
    check_eio(&mount.file("late"))?;
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    check(&mount, "early", &first.files["early"])?;
    let said = daemon.lines_with(&["giving up on a READ", BLOB, "another one now"]);
    ensure!(said.len() == 1, "it says: {}", daemon.log());
    unmount(mount)?;
    // What comes next knows of the first one only what is kept beside the cache.
    kill_process(daemon.worker()?, Signal::KILL)?;
    is_refused_as_another(&daemon, ctx, FSID)?;

    for key in [FSID, BLOB] {
        super::program::run(&["invalidate", "--dir", sys::CACHE, key])?;
    }
    check_all(&daemon, ctx, &second)?;
    daemon.stop()
}

fn daemon_verifies_each_chunk_of_a_blob_with_an_index(ctx: &Context) -> Result<()> {
    let (web, image) = (Web::start()?, image(1));
    put(&web, &image)?;
    let mut blob = image.blobs[0].1.to_vec();
    let file = ctx.work.join(BLOB);
    fs::write(&file, &blob)?;
    let made = file.to_str().context("a path that is no text")?;
    super::program::run(&["index", "--chunk-size", "64", made])?;
    web.put(
        &format!("{BLOB}.chunks"),
        &fs::read(ctx.work.join(format!("{BLOB}.chunks")))?,
    );
    // A byte in the middle of the second file.
    let at = (64 + 32) * BLOCK;
    blob[at] ^= 1;
    web.put(BLOB, &blob);
    // All of it is one unit: what is wrong in that does not take the rest with it.
    let daemon = Daemon::start_from_web(ctx, &web, &[])?;
    let mount = daemon.mount(ctx, FSID)?;
    check_eio(&mount.file("late"))?;
    check(&mount, "early", &image.files["early"])?;
    let said = daemon.lines_with(&["giving up on a READ", BLOB, "do not match their digest"]);
    ensure!(said.len() == 1, "it says: {}", daemon.log());
    unmount(mount)?;
    daemon.stop()
}
