// SPDX-License-Identifier: GPL-2.0
//! A broken or vanishing cache below working clients: they go on with what the server says.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;
use rustix::mount::{MountFlags, mount_remount};

use super::super::module::Injection;
use super::attribute::expect_none;
use super::world;
use super::world::{
    BLOCK, Client, Server, State, bind, command_at, drop_caches, graves, stored_files,
};
use crate::context::{Context, TAG, expect_errno};
use crate::image::pattern;
use crate::kmsg::KernelLog;
use crate::registry::{Test, test};
use crate::sys;
use crate::task::soon;

pub const TESTS: &[Test] = &[
    test!(
        injected_eio_stops_the_cache_and_readers_go_on,
        "a broken disk ends the cache, and no more"
    ),
    test!(
        read_that_fails_below_the_cache_is_served_by_the_server,
        "a disk that fails between the question and the read is no error of the reader"
    ),
    test!(
        injected_enospc_keeps_new_files_out_and_readers_go_on,
        "a full disk is no error of the reader"
    ),
    test!(
        attribute_that_cannot_be_set_is_removed_and_the_cache_goes_on,
        "FAULTS 12: an error of one file, other than EIO, costs that file"
    )
    .c_fails("the whole cache dies of it"),
    test!(
        errors_of_one_file_over_and_over_do_not_flood_the_log,
        "lines that user space can cause at will are limited"
    )
    .c_skips("the cache dies of the first"),
    test!(
        errors_of_the_cache_are_no_errors_of_a_write,
        "what is written reaches the server whatever the cache says"
    ),
    test!(
        file_that_cannot_be_opened_is_not_left_in_use,
        "CVE-2022-49064, CVE-2024-49870: a failed open gives the inode and the dentry back"
    ),
    test!(
        cache_file_moved_away_by_root_is_left_alone,
        "LATER 2: a rename under the cache does not end in a BUG"
    ),
    test!(
        cache_file_removed_by_root_is_made_again,
        "somebody empties the cache by hand"
    ),
    test!(
        store_removed_under_a_volume_does_no_harm,
        "somebody empties the cache by hand"
    ),
];

fn data() -> Vec<u8> {
    pattern(70, 7 * BLOCK)
}

fn injected_eio_stops_the_cache_and_readers_go_on(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::NOT_STOPPED)?;
    let server = Server::new(ctx)?;
    for name in ["known", "new", "later"] {
        server.put(name, &data())?;
    }
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("known", &data())?;
    client.sync()?;
    let mut log = KernelLog::from_now()?;
    let injection = Injection::start("2")?;
    drop_caches(false)?;
    client.check("known", &data()).context("a cached file")?;
    client.check("new", &data()).context("a new file")?;
    sys::wait_for("the cache to stop", soon(), || {
        device.command("debug 0") == Err(Errno::IO)
    })?;
    drop(injection);
    let lines = log.lines()?;
    let stopped = format!("Cache '{TAG}' stopped due to I/O error");
    for part in ["CacheFiles: I/O Error: ", &stopped] {
        ensure!(
            lines.iter().any(|line| line.contains(part)),
            "no {part:?} in {lines:?}"
        );
    }
    let rows = sys::fscache_table("caches")?;
    ensure!(
        rows.iter().any(|row| row.ends_with(&format!(" E {TAG}"))),
        "the caches are {rows:?}"
    );
    for command in ["cull x", "inuse x", "nonsense", "frun 8%"] {
        expect_errno(device.command(command), Errno::IO, command)?;
    }
    State::read(&device).context("the state of a stopped cache")?;
    drop_caches(false)?;
    client.check("later", &data()).context("once it stopped")?;
    fs::write(client.path("written"), data())?;
    client.sync()?;
    server.check("written", &data())?;
    client.unmount()?;
    drop(device);
    // The next daemon starts it again.
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("later", &data())?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    client.check_warm("later", &data())?;
    client.unmount()
}

/// A client, with `count` files in the cache that have name and attribute.
fn client_of_stored(ctx: &Context, server: &Server, count: u32) -> Result<Client> {
    let names: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    for name in &names {
        server.put(name, &data())?;
    }
    for _ in 0..2 {
        let client = Client::mount(ctx)?;
        for name in &names {
            client.check(name, &data())?;
        }
        client.unmount()?;
    }
    Client::mount(ctx)
}

fn attribute_that_cannot_be_set_is_removed_and_the_cache_goes_on(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    let device = bind(ctx, &[])?;
    let client = client_of_stored(ctx, &server, 2)?;
    client.check_warm("0", &data())?;
    client.check_warm("1", &data())?;
    let path = client.cache_file("0")?;
    // Whoever opens a file for writing has its attribute say so first.
    let injection = Injection::start("1")?;
    let file = client.open("0")?;
    let removed = sys::wait_for("the attribute to go", soon(), || expect_none(&path).is_ok());
    drop(injection);
    device.command("debug 0").context("the cache died")?;
    removed?;
    drop(file);
    client.unmount()?;
    device.command("debug 0").context("the cache died")?;
    let client = Client::mount(ctx)?;
    client.check_warm("1", &data())?;
    client.check("0", &data())?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    client.check_warm("0", &data())?;
    client.unmount()
}

fn errors_of_one_file_over_and_over_do_not_flood_the_log(ctx: &Context) -> Result<()> {
    const FILES: u32 = 40;
    let server = Server::new(ctx)?;
    let device = bind(ctx, &[])?;
    let client = client_of_stored(ctx, &server, FILES)?;
    let paths: Vec<_> = (0..FILES)
        .map(|number| client.cache_file(&number.to_string()))
        .collect::<Result<_>>()?;
    let mut log = KernelLog::from_now()?;
    let injection = Injection::start("1")?;
    let mut files = Vec::new();
    for number in 0..FILES {
        files.push(client.open(&number.to_string())?);
    }
    let removed = sys::wait_for("all attributes to go", soon(), || {
        paths.iter().all(|path| expect_none(path).is_ok())
    });
    drop(injection);
    removed?;
    let lines = log.lines()?;
    let said = lines
        .iter()
        .filter(|line| line.contains("set xattr"))
        .count();
    // Ten in five seconds: on a slow machine there is more than one such time.
    ensure!(
        said > 0 && said < FILES as usize,
        "{said} lines for {FILES} errors: {lines:?}"
    );
    drop(files);
    client.unmount()?;
    device.command("debug 0").context("the cache died")
}

fn read_that_fails_below_the_cache_is_served_by_the_server(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    server.put("file", &data())?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data())?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    client.check_warm("file", &data())?;
    for round in 0..8 {
        // The object stays, with what is known of its file: no question fails before the read.
        drop_caches(false)?;
        let injection = Injection::start("2")?;
        client
            .check("file", &data())
            .with_context(|| format!("round {round}"))?;
        drop(injection);
        drop_caches(false)?;
        client.check("file", &data())?;
    }
    client.unmount()
}

fn injected_enospc_keeps_new_files_out_and_readers_go_on(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    for name in ["first", "new"] {
        server.put(name, &data())?;
    }
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("first", &data())?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    client.check_warm("first", &data())?;
    let injection = Injection::start("1")?;
    client.check_cold("new", &data())?;
    client.sync()?;
    let path = client.cache_file("new")?;
    drop_caches(false)?;
    client.check_warm("first", &data())?;
    client.check_cold("new", &data())?;
    client.sync()?;
    drop(injection);
    State::read(&device)?;
    device.command("debug 0").context("the cache stopped")?;
    client.unmount()?;
    ensure!(!path.exists(), "{} was stored", path.display());
    let client = Client::mount(ctx)?;
    client.check_cold("new", &data())?;
    client.unmount()?;
    ensure!(path.exists(), "{} was not stored", path.display());
    Ok(())
}

fn errors_of_the_cache_are_no_errors_of_a_write(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    for (number, value) in ["1", "2"].into_iter().enumerate() {
        let name = format!("file-{number}");
        server.put(&name, &data())?;
        let device = bind(ctx, &[])?;
        let client = Client::mount(ctx)?;
        client.check(&name, &data())?;
        let file = client.open(&name)?;
        let injection = Injection::start(value)?;
        let fresh = pattern(71, data().len());
        let written = rustix::io::pwrite(&file, &fresh, 0)?;
        ensure!(written == fresh.len(), "wrote {written} bytes");
        file.sync_all().context("fsync")?;
        file.set_len(3 * BLOCK as u64 + 5).context("ftruncate")?;
        drop(file);
        drop(injection);
        server.check(&name, &fresh[..3 * BLOCK + 5])?;
        drop_caches(true)?;
        client.check(&name, &fresh[..3 * BLOCK + 5])?;
        client.unmount()?;
        drop(device);
        let _device = bind(ctx, &[])?;
        server.set_mtime(&name, 1000)?;
        let client = Client::mount(ctx)?;
        client.check(&name, &fresh[..3 * BLOCK + 5])?;
        client.unmount()?;
    }
    Ok(())
}

fn file_that_cannot_be_opened_is_not_left_in_use(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    server.put("file", &data())?;
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data())?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    let path = client.cache_file("file")?;
    // Opened for reading and writing, the cache file needs a writable mount.
    let read_only = MountFlags::RDONLY | MountFlags::BIND;
    // The kernel closes the file of an object in its own time.
    sys::wait_for("a mount that nobody writes to", soon(), || {
        mount_remount(sys::CACHE, read_only, c"").is_ok()
    })?;
    for _ in 0..3 {
        client.check_cold("file", &data())?;
        drop_caches(true)?;
    }
    mount_remount(sys::CACHE, MountFlags::BIND, c"").context("making the mount writable")?;
    command_at(&device, &path, "inuse")?.context("the inode is left in use")?;
    client.check_warm("file", &data())?;
    client.unmount()
}

fn cache_file_moved_away_by_root_is_left_alone(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    server.put("file", &data())?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data())?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    let path = client.cache_file("file")?;
    let elsewhere = Path::new(sys::CACHE).join("elsewhere");
    let file = super::world::open_direct(&client.path("file"))?;
    client.check_warm("file", &data())?;
    fs::rename(&path, &elsewhere)?;
    // This invalidates the object, whose file is then no longer where it was.
    let mut buffer = cachefiles_protocol::AlignedBuffer::new(BLOCK);
    buffer.copy_from_slice(&pattern(72, BLOCK));
    rustix::io::pwrite(&file, &buffer, 0)?;
    drop(file);
    let mut expected = data();
    expected[..BLOCK].copy_from_slice(&buffer);
    drop_caches(false)?;
    client.check("file", &expected)?;
    client.unmount()?;
    ensure!(elsewhere.exists(), "it was removed where it is now");
    server.check("file", &expected)
}

fn cache_file_removed_by_root_is_made_again(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    server.put("file", &data())?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data())?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    let file = File::open(client.path("file"))?;
    client.check_warm("file", &data())?;
    let path = client.cache_file("file")?;
    fs::remove_file(&path)?;
    drop_caches(false)?;
    client.check("file", &data())?;
    drop(file);
    client.unmount()?;
    for warm in [false, true] {
        let client = Client::mount(ctx)?;
        if warm {
            client.check_warm("file", &data())?;
        } else {
            client.check_cold("file", &data())?;
        }
        client.unmount()?;
    }
    ensure!(stored_files()? == [path], "stored: {:?}", stored_files()?);
    Ok(())
}

fn store_removed_under_a_volume_does_no_harm(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    server.put("file", &data())?;
    server.put("other", &data())?;
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data())?;
    client.sync()?;
    let volume = client.volume_dir();
    // rmdir is refused, rename is not: the cache goes on in a place that nobody finds again.
    fs::rename(&volume, Path::new(sys::CACHE).join("elsewhere"))?;
    drop_caches(true)?;
    client.check("file", &data())?;
    client.check("other", &data())?;
    client.unmount()?;
    ensure!(graves()?.is_empty(), "in the graveyard: {:?}", graves()?);
    drop(device);
    let _device = bind(ctx, &[])?;
    for warm in [false, true] {
        let client = Client::mount(ctx)?;
        if warm {
            client.check_warm("file", &data())?;
        } else {
            client.check_cold("file", &data())?;
        }
        client.unmount()?;
    }
    fs::remove_dir_all(Path::new(sys::CACHE).join("elsewhere")).context("marks of use are left")
}
