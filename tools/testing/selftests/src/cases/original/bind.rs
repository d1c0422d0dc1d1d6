// SPDX-License-Identifier: GPL-2.0
//! Bringing a cache up in the original mode, what refuses it, and taking it down under its clients.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Device, Errno};
use rustix::mount::{MountFlags, mount, mount_remount};

use super::world;
use super::world::{BLOCK, Client, Counts, Server, State, bind, drop_caches, same};
use crate::context::{Context, TAG, expect_errno};
use crate::image::pattern;
use crate::kmsg::KernelLog;
use crate::registry::{Test, test};
use crate::sys;
use crate::task::{Task, soon};

pub const TESTS: &[Test] = &[
    test!(
        bind_in_the_original_mode_fails_for_the_path_with_its_own_error,
        "an administrator sees what is wrong"
    ),
    test!(
        failed_binds_leave_nothing_behind,
        "CVE-2024-26612, CVE-2024-26840: an error while a cache is added leaks nothing"
    ),
    test!(
        failed_bind_ondemand_does_not_leave_the_mode_set,
        "FAULTS 15: a bind after a refused bind is what it says"
    )
    .c_fails("the mode of a refused bind stays"),
    test!(
        bind_without_a_tag_is_called_cachefiles,
        "the log and fscache name the cache as before"
    ),
    test!(
        second_bind_in_the_original_mode_is_refused_with_ebusy,
        "a bound cache stays as it is"
    ),
    test!(
        mount_that_was_there_before_bind_is_cached,
        "the order of mounting and binding does not matter"
    ),
    test!(
        release_of_the_device_unbinds_and_readers_go_on,
        "a daemon that ends does not hurt its clients"
    ),
    test!(
        fifty_binds_under_a_reading_client_leak_nothing,
        "CVE-2024-41057, CVE-2024-41058, CVE-2024-45000: withdrawal meets look-up, reading and writing"
    )
    .limit(60),
    test!(
        module_of_a_bound_cache_stays_and_that_of_an_unbound_one_goes,
        "code in use is not removed"
    ),
];

fn try_bind(ctx: &Context, dir: &str) -> Result<Result<(), Errno>> {
    let device = ctx.device()?;
    device.command(&format!("dir {dir}"))?;
    let result = device.command("bind");
    if result.is_err() {
        let mut buffer = [0; 256];
        let read = rustix::io::read(&device, &mut buffer)?;
        ensure!(read == 0, "a cache that is not bound has a state");
    }
    Ok(result)
}

/// A directory for each way to fail, and the error.
fn bad_directories(ctx: &Context) -> Result<Vec<(String, Errno)>> {
    fs::write("/cache/file", "x")?;
    let tmpfs = ctx.mount_point("tmpfs");
    fs::create_dir_all(&tmpfs)?;
    mount("none", &tmpfs, c"tmpfs", MountFlags::empty(), None)?;
    // The store is a file, or cannot be made.
    fs::create_dir_all("/cache/odd")?;
    fs::write("/cache/odd/cache", "x")?;
    fs::create_dir_all("/cache/strange/cache")?;
    fs::write("/cache/strange/graveyard", "x")?;
    Ok(vec![
        ("/cache/missing".into(), Errno::NOENT),
        ("/cache/file".into(), Errno::NOTDIR),
        ("/proc".into(), Errno::OPNOTSUPP),
        (
            tmpfs.to_str().context("a path that is no text")?.into(),
            Errno::OPNOTSUPP,
        ),
        ("/cache/odd".into(), Errno::IO),
        ("/cache/strange".into(), Errno::IO),
    ])
}

fn bind_in_the_original_mode_fails_for_the_path_with_its_own_error(ctx: &Context) -> Result<()> {
    expect_errno(
        ctx.device()?.command("bind"),
        Errno::INVAL,
        "without a path",
    )?;
    for (dir, errno) in bad_directories(ctx)? {
        expect_errno(try_bind(ctx, &dir)?, errno, &dir)?;
    }
    mount_remount(sys::CACHE, MountFlags::RDONLY, c"")?;
    let result = try_bind(ctx, sys::CACHE);
    mount_remount(sys::CACHE, MountFlags::empty(), c"")?;
    expect_errno(result?, Errno::ROFS, "bind to a read-only filesystem")?;
    sys::unmount_patiently(&ctx.mount_point("tmpfs"), soon())?;
    bind(ctx, &[]).map(drop)
}

fn failed_binds_leave_nothing_behind(ctx: &Context) -> Result<()> {
    let bad = bad_directories(ctx)?;
    for _ in 0..10 {
        for (dir, errno) in &bad {
            expect_errno(try_bind(ctx, dir)?, *errno, dir)?;
        }
        // The same device, and another path: not one of those that are remembered.
        let device = ctx.device()?;
        device.command("dir /cache/odd")?;
        expect_errno(device.command("bind"), Errno::IO, "a first bind")?;
        expect_errno(device.command("bind"), Errno::IO, "a second bind")?;
    }
    let rows = sys::fscache_table("caches")?;
    ensure!(rows.is_empty(), "fscache remembers {rows:?}");
    sys::unmount_patiently(&ctx.mount_point("tmpfs"), soon())?;
    // What was looked at bears no mark of use.
    fs::remove_dir("/cache/strange/cache").context("rmdir of what a failed bind marked")?;
    fs::remove_file("/cache/odd/cache")?;
    bind(ctx, &[]).map(drop)
}

fn failed_bind_ondemand_does_not_leave_the_mode_set(ctx: &Context) -> Result<()> {
    fs::create_dir("/cache/odd")?;
    fs::write("/cache/odd/cache", "x")?;
    let device = ctx.device()?;
    device.command("dir /cache/odd")?;
    expect_errno(device.command("bind ondemand"), Errno::IO, "bind ondemand")?;
    fs::remove_file("/cache/odd/cache")?;
    device.command("bind").context("bind")?;
    State::read(&device).context("the state of the original mode")?;
    expect_errno(device.command("restore"), Errno::OPNOTSUPP, "restore")
}

fn bind_without_a_tag_is_called_cachefiles(ctx: &Context) -> Result<()> {
    let mut log = KernelLog::from_now()?;
    let device = ctx.device()?;
    device.command("dir /cache")?;
    device.command("bind")?;
    let rows = sys::fscache_table("caches")?;
    ensure!(
        rows.len() == 1 && rows[0].ends_with(" A CacheFiles"),
        "the caches are {rows:?}"
    );
    drop(device);
    let lines = log.lines()?;
    for end in ["registered", "unregistering"] {
        let line = format!("CacheFiles: File cache on CacheFiles {end}");
        ensure!(lines.contains(&line), "no line {line:?} in {lines:?}");
    }
    let rows = sys::fscache_table("caches")?;
    ensure!(rows.is_empty(), "the caches are {rows:?} after unbinding");
    Ok(())
}

fn second_bind_in_the_original_mode_is_refused_with_ebusy(ctx: &Context) -> Result<()> {
    let device = bind(ctx, &[])?;
    for command in ["bind", "bind ondemand", "bind nonsense"] {
        expect_errno(device.command(command), Errno::BUSY, command)?;
    }
    for command in ["dir /elsewhere", "tag other"] {
        expect_errno(device.command(command), Errno::EXIST, command)?;
    }
    State::read(&device).map(drop)
}

fn mount_that_was_there_before_bind_is_cached(ctx: &Context) -> Result<()> {
    let data = pattern(1, 3 * BLOCK);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    let path = client.cache_file("file")?;
    let device = bind(ctx, &[])?;
    drop_caches(false)?;
    client.check_cold("file", &data)?;
    client.sync()?;
    drop_caches(false)?;
    client.check_warm("file", &data)?;
    client.unmount()?;
    ensure!(path.exists(), "{} was not stored", path.display());
    drop(device);
    Ok(())
}

fn release_of_the_device_unbinds_and_readers_go_on(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::IS_KEPT)?;
    let data = pattern(2, 9 * BLOCK);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    let file = client.open("file")?;
    client.check("file", &data)?;
    client.sync()?;
    let path = client.cache_file("file")?;
    drop(device);
    ensure!(path.exists(), "withdrawal did not store the file");
    drop_caches(false)?;
    // Open since before, opened now, and written: all of it goes to the server.
    let mut seen = vec![0; data.len()];
    rustix::io::pread(&file, &mut seen, 0)?;
    same(&seen, &data)?;
    client.check("file", &data)?;
    rustix::io::pwrite(&file, b"new", 100)?;
    file.sync_all()?;
    let mut changed = data.clone();
    changed[100..103].copy_from_slice(b"new");
    server.check("file", &changed)?;
    drop(file);
    client.unmount()?;
    // The next daemon has the file as it was before, and does not take it for the new one, which
    // has another version: made sure of here, for the server's versions are a second apart.
    server.set_mtime("file", 1000)?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &changed)?;
    client.unmount()
}

/// Reads a file over and over, and writes another, until told to stop.
///
/// What was written is looked for on the server. The client cannot be asked: 9p does not learn the
/// new version of what it wrote, so what it wrote while there was no cache is not known to be newer
/// than what the cache has, by either module.
fn worker(
    client: &Client,
    server: &Server,
    number: usize,
    data: Arc<Vec<u8>>,
    stop: Arc<AtomicBool>,
) -> Task<Result<usize>> {
    let read = client.path(&format!("read-{number}"));
    let written = client.path(&format!("write-{number}"));
    let on_server = server.path(&format!("write-{number}"));
    Task::start("a worker", move || {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            let seen = fs::read(&read).context("reading")?;
            same(&seen, &data).with_context(|| format!("round {rounds}"))?;
            let fresh = pattern(rounds as u32 + 7, 3 * BLOCK);
            let mut file = File::create(&written).context("creating")?;
            file.write_all(&fresh).context("writing")?;
            file.sync_all().context("fsync")?;
            let seen = fs::read(&on_server).context("reading on the server")?;
            same(&seen, &fresh).with_context(|| format!("written in round {rounds}"))?;
            rounds += 1;
        }
        Ok(rounds)
    })
}

fn fifty_binds_under_a_reading_client_leak_nothing(ctx: &Context) -> Result<()> {
    let data = Arc::new(pattern(4, 20 * BLOCK));
    let server = Server::new(ctx)?;
    for number in 0..2 {
        server.put(&format!("read-{number}"), &data)?;
    }
    let client = Client::mount(ctx)?;
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..2)
        .map(|number| {
            worker(
                &client,
                &server,
                number,
                Arc::clone(&data),
                Arc::clone(&stop),
            )
        })
        .collect();
    let counts = Counts::now()?;
    let mut round = 0;
    // On a busy host the readers may have had no turn while the cache was there.
    while round < 50 || counts.moved("CaRdOps.RD")? == 0 {
        ensure!(round < 500, "the cache was never read");
        let device = bind(ctx, &[]).with_context(|| format!("bind {round}"))?;
        ensure!(sys::module_references()? > 0, "the module is not pinned");
        client.sync()?;
        drop_caches(round % 2 == 0)?;
        State::read(&device)?;
        drop(device);
        round += 1;
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        let rounds = worker.finish()??;
        ensure!(rounds > 0, "a worker did nothing");
    }
    client.unmount()?;
    for name in ["cache", "graveyard"] {
        // Marks of use would keep them.
        fs::remove_dir_all(Path::new(sys::CACHE).join(name)).with_context(|| name.to_owned())?;
    }
    Ok(())
}

fn module_of_a_bound_cache_stays_and_that_of_an_unbound_one_goes(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::IS_KEPT)?;
    let data = pattern(5, 2 * BLOCK);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let client = Client::mount(ctx)?;
    let device = bind(ctx, &[])?;
    client.check("file", &data)?;
    client.sync()?;
    let removed = sys::remove_module();
    expect_errno(
        removed,
        Errno::AGAIN,
        "removing the module of a bound cache",
    )?;
    drop(device);
    // The client stays mounted, with its cookies.
    ctx.load_own_module()?;
    drop_caches(false)?;
    client.check("file", &data)?;
    let device: Device = bind(ctx, &[])?;
    let rows = sys::fscache_table("caches")?;
    ensure!(
        rows.iter().any(|row| row.ends_with(&format!(" A {TAG}"))),
        "the caches are {rows:?}"
    );
    drop_caches(true)?;
    client.check_warm("file", &data)?;
    drop(device);
    client.unmount()
}
