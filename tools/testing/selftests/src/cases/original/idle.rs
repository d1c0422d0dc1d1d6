// SPDX-License-Identifier: GPL-2.0
//! Files that nobody has open: fscache lets go of their objects after ten seconds, and takes them
//! up again at the next use.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::PollFlags;

use super::attribute::Attribute;
use super::world;
use super::world::{
    BLOCK, Client, Counts, Server, State, bind, command_at, cookie_states, drop_caches, polls, same,
};
use crate::context::Context;
use crate::image::pattern;
use crate::registry::{Test, test};
use crate::sys;
use crate::task::{Task, soon};

pub const TESTS: &[Test] = &[
    test!(
        objects_are_let_go_after_ten_seconds_and_come_back,
        "files are not held for ever; what was let go can be culled and used again"
    )
    .limit(60),
    test!(
        objects_used_again_at_the_moment_they_expire_keep_their_contents,
        "CVE-2022-48989, CVE-2024-46786: expiry races with use; the timer outlives the module"
    )
    .limit(60),
    test!(
        hundreds_of_files_are_stored_and_used_again,
        "more objects than anything else in these tests has"
    )
    .limit(60),
];

/// fscache's patience with a cookie that nobody uses.
const EXPIRY: Duration = Duration::from_secs(10);

/// How many objects are open in the cache.
fn active() -> Result<usize> {
    let states = cookie_states()?;
    Ok(states.iter().filter(|state| *state == "A").count())
}

fn objects_are_let_go_after_ten_seconds_and_come_back(ctx: &Context) -> Result<()> {
    let (data, fresh) = (pattern(80, 5 * BLOCK), pattern(81, 5 * BLOCK));
    let names = ["read", "written", "culled", "rewritten", "held"];
    let server = Server::new(ctx)?;
    for name in names {
        server.put(name, &data)?;
    }
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    for name in names {
        client.check(name, &data)?;
    }
    client.unmount()?;
    State::read(&device)?;
    let client = Client::mount(ctx)?;
    let held = client.open("held")?;
    let counts = Counts::now()?;
    let started = Instant::now();
    for name in names {
        client.check_warm(name, &data)?;
    }
    fs::write(client.path("written"), &fresh)?;
    client.sync()?;
    sys::wait_for("idle objects to be let go", EXPIRY + soon(), || {
        active().is_ok_and(|count| count == 1)
    })?;
    let waited = started.elapsed();
    ensure!(
        waited > EXPIRY - Duration::from_secs(1),
        "they were let go after {waited:?} already"
    );
    ensure!(
        counts.moved("LRU.exp")? == 4,
        "{} objects expired",
        counts.moved("LRU.exp")?
    );
    // A cookie's state is told before its file is closed.
    sys::wait_for("the device to be readable", soon(), || {
        polls(&device).is_ok_and(|events| events == PollFlags::IN)
    })?;
    // Each look begins to count anew.
    let mut released = 0;
    sys::wait_for("their files to be released", soon(), || {
        let more = State::read(&device).and_then(|state| state.get("freleased"));
        released += more.unwrap_or(0);
        released >= 4
    })?;
    ensure!(released == 4, "{released} files were released");
    // What was written is clean, though the client is still there.
    let path = client.cache_file("written")?;
    let content = Attribute::read(&path)?.content;
    ensure!(content == 0, "content {content} after it was let go");
    command_at(&device, &path, "inuse")?.context("inuse of an idle file")?;
    for name in ["culled", "rewritten"] {
        let path = client.cache_file(name)?;
        command_at(&device, &path, "cull")?.with_context(|| format!("cull of {name}"))?;
    }
    drop_caches(false)?;
    client.check_warm("read", &data)?;
    client.check_warm("written", &fresh)?;
    client.check_cold("culled", &data)?;
    client.check_warm("held", &data)?;
    // Written before it is read: what is around it comes from the server.
    let mut rewritten = data.clone();
    rewritten[5000..5010].copy_from_slice(&fresh[..10]);
    rustix::io::pwrite(&client.open("rewritten")?, &fresh[..10], 5000)?;
    client.check("rewritten", &rewritten)?;
    client.sync()?;
    server.check("rewritten", &rewritten)?;
    drop_caches(false)?;
    client.check("rewritten", &rewritten)?;
    drop(held);
    client.unmount()
}

fn objects_used_again_at_the_moment_they_expire_keep_their_contents(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::IS_KEPT)?;
    const FILES: u32 = 24;
    let data = |number: u32| pattern(number + 90, 3 * BLOCK);
    let server = Server::new(ctx)?;
    for number in 0..FILES {
        server.put(&number.to_string(), &data(number))?;
    }
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    for number in 0..FILES {
        client.check(&number.to_string(), &data(number))?;
    }
    client.sync()?;
    // fscache's timer runs: it must not need this module.
    drop(device);
    ctx.load_own_module()?;
    let _device = bind(ctx, &[])?;
    drop_caches(true)?;
    for number in 0..FILES {
        client.check_warm(&number.to_string(), &data(number))?;
    }
    let closed = Instant::now();
    drop_caches(false)?;
    let users: Vec<_> = (0..FILES)
        .map(|number| {
            let (path, expected): (PathBuf, _) = (client.path(&number.to_string()), data(number));
            // From a quarter of a second before the time to three quarters after it.
            let wait =
                EXPIRY - Duration::from_millis(250) + Duration::from_secs(1) * number / FILES;
            Task::start("a user", move || -> Result<()> {
                std::thread::sleep(wait.saturating_sub(closed.elapsed()));
                for round in 0..20 {
                    let seen = fs::read(&path).with_context(|| format!("reading {number}"))?;
                    same(&seen, &expected).with_context(|| format!("{number}, round {round}"))?;
                    if number % 2 == 0 {
                        fs::write(&path, &expected)?;
                    }
                }
                Ok(())
            })
        })
        .collect();
    for user in users {
        user.finish_within(EXPIRY + soon())??;
    }
    client.sync()?;
    drop_caches(false)?;
    for number in 0..FILES {
        let name = number.to_string();
        client.check(&name, &data(number))?;
        server.check(&name, &data(number))?;
    }
    client.unmount()
}

fn hundreds_of_files_are_stored_and_used_again(ctx: &Context) -> Result<()> {
    const FILES: u32 = 400;
    let data = |number: u32| pattern(number + 200, BLOCK);
    let server = Server::new(ctx)?;
    for number in 0..FILES {
        server.put(&number.to_string(), &data(number))?;
    }
    let device = bind(ctx, &[])?;
    for round in 0..2 {
        let client = Client::mount(ctx)?;
        let counts = Counts::now()?;
        for number in 0..FILES {
            client.check(&number.to_string(), &data(number))?;
        }
        let server_reads = counts.moved("DownOps.DL")?;
        let expected = if round == 0 { i64::from(FILES) } else { 0 };
        ensure!(
            server_reads == expected,
            "round {round}: {server_reads} reads came from the server"
        );
        client.unmount()?;
        let released = State::read(&device)?.get("freleased")?;
        ensure!(
            released == u64::from(FILES),
            "round {round}: {released} files were released"
        );
    }
    Ok(())
}
