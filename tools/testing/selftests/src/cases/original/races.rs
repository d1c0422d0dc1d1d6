// SPDX-License-Identifier: GPL-2.0
//! Things that happen at the same time: coming and going of daemons, clients and volumes,
//! invalidation and culling, all under readers that must see the server's contents.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_protocol::{AlignedBuffer, Device, Errno};

use super::super::module::Injection;
use super::world;
use super::world::{
    BLOCK, Client, Counts, Server, bind, command_at, drop_caches, open_direct, same, stored_files,
};
use crate::actor::Actor;
use crate::context::Context;
use crate::image::pattern;
use crate::registry::{Test, test};
use crate::share;
use crate::sys;
use crate::task::{Task, soon};

pub const TESTS: &[Test] = &[
    test!(
        volume_is_acquired_again_while_it_is_relinquished,
        "CVE-2023-52982: the second volume waits for the first, and no longer"
    )
    .limit(60),
    test!(
        daemon_ends_while_its_client_is_unmounted,
        "CVE-2024-41057, CVE-2024-41058: two ways of withdrawal at once"
    )
    .limit(60),
    test!(
        daemon_killed_under_readers_and_writers_does_not_hurt_them,
        "SIGKILL of the daemon is no error of its clients"
    )
    .limit(60),
    test!(
        errors_injected_under_readers_and_writers_do_not_reach_them,
        "a cache that fails at any moment is given up in order"
    )
    .limit(60),
    test!(
        invalidation_during_look_up_is_not_lost,
        "CVE-2022-49655: an object invalidated while it is looked up"
    )
    .limit(60),
    test!(
        culling_everything_under_readers_loses_nothing,
        "LATER 1: cull meets look-up, creation and withdrawal"
    )
    .limit(60),
];

/// How many files each of these tests has.
const FILES: u32 = 16;

fn data(number: u32) -> Vec<u8> {
    pattern(number + 300, (1 + number as usize % 7) * BLOCK)
}

fn served(ctx: &Context) -> Result<Server> {
    let server = Server::new(ctx)?;
    for number in 0..FILES {
        server.put(&number.to_string(), &data(number))?;
    }
    Ok(server)
}

/// Reads all files, the last first in odd rounds.
fn read_all(client: &Client, round: u32) -> Result<()> {
    for number in 0..FILES {
        let number = if round % 2 == 0 {
            number
        } else {
            FILES - 1 - number
        };
        client
            .check(&number.to_string(), &data(number))
            .with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

fn volume_is_acquired_again_while_it_is_relinquished(ctx: &Context) -> Result<()> {
    let _server = served(ctx)?;
    let _device = bind(ctx, &[])?;
    let counts = Counts::now()?;
    for round in 0..15 {
        let client = Client::mount(ctx)?;
        read_all(&client, round)?;
        // The next mount comes while objects and volume are on their way out.
        client.unmount_at_once()?;
    }
    share::wait_for_no_cookies()?;
    ensure!(
        counts.moved("Cookies.vcol")? == 0,
        "a volume waited for 20 seconds"
    );
    let client = Client::mount(ctx)?;
    for number in 0..FILES {
        client.check_warm(&number.to_string(), &data(number))?;
    }
    client.unmount()
}

fn daemon_ends_while_its_client_is_unmounted(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::IS_KEPT)?;
    let _server = served(ctx)?;
    for round in 0..12 {
        let device = bind(ctx, &[])?;
        let client = Client::mount(ctx)?;
        read_all(&client, round)?;
        let unmount = Task::start("unmounting", move || client.unmount_at_once());
        if round % 3 == 0 {
            std::thread::yield_now();
        }
        let close = Task::start("closing the device", move || drop(device));
        close.finish()?;
        unmount.finish()??;
        share::wait_for_no_cookies().with_context(|| format!("round {round}"))?;
    }
    let rows = sys::fscache_table("caches")?;
    ensure!(rows.is_empty(), "the caches are {rows:?}");
    Ok(())
}

/// A client that is read from and written to all the while.
struct Load {
    client: Arc<Client>,
    stop: Arc<AtomicBool>,
    reader: Task<Result<u32>>,
    writer: Task<Result<u32>>,
}

impl Load {
    fn start(client: Client) -> Self {
        let client = Arc::new(client);
        let stop = Arc::new(AtomicBool::new(false));
        let reader = {
            let (client, stop) = (Arc::clone(&client), Arc::clone(&stop));
            Task::start("reading", move || {
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    read_all(&client, round)?;
                    // What was read goes to the cache, and is then read from there.
                    client.sync()?;
                    drop_caches(round % 2 == 0)?;
                    round += 1;
                }
                Ok(round)
            })
        };
        let writer = {
            let (client, stop) = (Arc::clone(&client), Arc::clone(&stop));
            Task::start("writing", move || {
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    fs::write(client.path("written"), pattern(round, 9 * BLOCK))?;
                    client.open("written")?.sync_all().context("fsync")?;
                }
                Ok(round)
            })
        };
        Self {
            client,
            stop,
            reader,
            writer,
        }
    }

    /// Ends it: neither reader nor writer may have met an error, and the server has what was
    /// written.
    fn stop(self, server: &Server) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        ensure!(self.reader.finish()?? > 0, "nothing was read");
        let rounds = self.writer.finish()??;
        server.check("written", &pattern(rounds, 9 * BLOCK))?;
        let client = Arc::into_inner(self.client).context("the client is still used")?;
        client.unmount()
    }
}

/// Waits until something was read from the cache, which is in use then.
fn wait_for_cache_reads() -> Result<()> {
    let counts = Counts::now()?;
    sys::wait_for("the cache to be used", soon(), || {
        counts.moved("CaRdOps.RD").is_ok_and(|moved| moved > 3)
    })
}

fn errors_injected_under_readers_and_writers_do_not_reach_them(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::NOT_STOPPED)?;
    Injection::needed()?;
    let server = served(ctx)?;
    let load = Load::start(Client::mount(ctx)?);
    for round in 0..6 {
        let device = bind(ctx, &[]).with_context(|| format!("round {round}"))?;
        wait_for_cache_reads()?;
        // No space in even rounds, which the cache may survive; I/O errors in odd ones.
        let injection = Injection::start(if round % 2 == 0 { "1" } else { "2" })?;
        if round % 2 == 0 {
            std::thread::yield_now();
        } else {
            sys::wait_for("the cache to stop", soon(), || {
                device.command("debug 0") == Err(Errno::IO)
            })?;
        }
        if round % 3 == 0 {
            drop(injection);
            drop(device);
        } else {
            // It is withdrawn while everything fails.
            drop(device);
            drop(injection);
        }
    }
    load.stop(&server)
}

fn daemon_killed_under_readers_and_writers_does_not_hurt_them(ctx: &Context) -> Result<()> {
    let server = served(ctx)?;
    let load = Load::start(Client::mount(ctx)?);
    for _ in 0..5 {
        let actor = Actor::cache_holder()?;
        wait_for_cache_reads()?;
        actor.kill()?;
    }
    load.stop(&server)
}

fn invalidation_during_look_up_is_not_lost(ctx: &Context) -> Result<()> {
    let server = served(ctx)?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    read_all(&client, 0)?;
    let mut contents: BTreeMap<u32, Vec<u8>> = (0..FILES).map(|n| (n, data(n))).collect();
    let counts = Counts::now()?;
    for round in 0..8 {
        client.sync()?;
        // New cookies: each open below starts a look-up, and each write invalidates.
        drop_caches(true)?;
        for (number, content) in &mut contents {
            let path = client.path(&number.to_string());
            let reader = crate::task::read_in_background(&path);
            let file = open_direct(&path)?;
            let mut buffer = AlignedBuffer::new(BLOCK);
            buffer.copy_from_slice(&pattern(1000 * round + number, BLOCK));
            rustix::io::pwrite(&file, &buffer, 0)?;
            drop(file);
            let seen = reader.finish()??;
            // The one or the other, but no mixture.
            ensure!(
                same(&seen[..BLOCK], &content[..BLOCK]).is_ok()
                    || same(&seen[..BLOCK], &buffer).is_ok(),
                "round {round}: {number} is neither old nor new"
            );
            content[..BLOCK].copy_from_slice(&buffer);
        }
        for (number, content) in &contents {
            client
                .check(&number.to_string(), content)
                .with_context(|| format!("round {round}"))?;
        }
    }
    ensure!(counts.moved("Invals.n")? > 0, "nothing was invalidated");
    client.unmount()?;
    let client = Client::mount(ctx)?;
    for (number, content) in &contents {
        server.check(&number.to_string(), content)?;
        client.check(&number.to_string(), content)?;
    }
    client.unmount()
}

/// Culls what can be culled, once. Returns how much that was.
fn cull_all(device: &Device) -> Result<usize> {
    let mut culled = 0;
    for file in stored_files().unwrap_or_default() {
        match command_at(device, &file, "cull")? {
            Ok(()) => culled += 1,
            Err(Errno::BUSY | Errno::NOENT | Errno::STALE) => {}
            Err(errno) => bail!("cull {}: {errno:?}", file.display()),
        }
    }
    Ok(culled)
}

fn culling_everything_under_readers_loses_nothing(ctx: &Context) -> Result<()> {
    let _server = served(ctx)?;
    let device = bind(ctx, &[])?;
    let stop = Arc::new(AtomicBool::new(false));
    let culler = {
        let (device, stop) = (device.try_clone()?, Arc::clone(&stop));
        Task::start("culling", move || -> Result<usize> {
            let mut culled = 0;
            while !stop.load(Ordering::Relaxed) {
                culled += cull_all(&device)?;
            }
            Ok(culled)
        })
    };
    for round in 0..15 {
        let client = Client::mount(ctx)?;
        read_all(&client, round)?;
        client.unmount()?;
    }
    stop.store(true, Ordering::Relaxed);
    let culled = culler.finish()??;
    ensure!(culled > 0, "nothing was culled");
    let client = Client::mount(ctx)?;
    read_all(&client, 0)?;
    client.unmount()
}
