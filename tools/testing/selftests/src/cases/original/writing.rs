// SPDX-License-Identifier: GPL-2.0
//! Writing through the cache: what a client writes reaches the server and the cache alike.
//!
//! What was written is looked for in the cache by a later mount, to which the server is made to
//! tell the version that the cache has noted ([`again`]).

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::AlignedBuffer;

use super::attribute::Attribute;
use super::old_netfs;
use super::world::{BLOCK, Client, Counts, Server, bind, drop_caches, open_direct, same};
use crate::context::Context;
use crate::image::pattern;
use crate::registry::{Skip, Test, test};
use crate::sys;

pub const TESTS: &[Test] = &[
    test!(
        new_file_reaches_the_server_and_the_cache,
        "what is written is cached, at every size"
    ),
    test!(
        small_writes_into_a_cached_file_are_merged,
        "a write of less than a block does not lose what is around it"
    ),
    test!(
        appended_bytes_are_cached,
        "the partial block at the end grows"
    ),
    test!(
        shortened_and_extended_file_has_zeros_between,
        "what was cut off does not come back"
    ),
    test!(
        file_opened_with_o_trunc_loses_what_the_cache_had,
        "old contents do not show through"
    ),
    test!(
        mapped_writes_reach_the_server_and_the_cache,
        "dirty pages take the way of the cache"
    ),
    test!(
        direct_writes_invalidate_the_cached_file,
        "what the cache had is replaced by a fresh file"
    ),
    test!(
        large_writes_reach_the_server_and_the_cache,
        "CVE-2024-46748: a piece over the greatest size of an I/O does not hang"
    )
    .limit(60),
    test!(
        renamed_file_stays_cached_and_an_unlinked_one_does_not_come_back,
        "files are known by number, not by name"
    ),
    test!(
        random_operations_agree_with_a_model,
        "every combination of the above"
    )
    .limit(60),
];

/// Unmounts; then mounts again, with `name` on the server in the version that the cache has noted.
fn again(ctx: &Context, server: &Server, client: Client, names: &[&str]) -> Result<Client> {
    let mut noted = Vec::new();
    for name in names {
        noted.push((name, client.cache_file(name)?));
    }
    client.unmount()?;
    for (name, path) in noted {
        let attribute = Attribute::read(&path).with_context(|| format!("{name} in the cache"))?;
        ensure!(
            attribute.content == 0,
            "{name} is marked {} in the cache",
            attribute.content
        );
        server.set_version(name, attribute.version()?)?;
    }
    Client::mount(ctx)
}

/// That the server has `data`, and a later mount reads it without asking the server.
pub(super) fn expect_written(
    ctx: &Context,
    server: &Server,
    client: Client,
    name: &str,
    data: &[u8],
) -> Result<Client> {
    client.sync()?;
    server.check(name, data)?;
    client.check(name, data).context("before the remount")?;
    let client = again(ctx, server, client, &[name])?;
    client.check_warm(name, data)?;
    Ok(client)
}

fn new_file_reaches_the_server_and_the_cache(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let mut client = Client::mount(ctx)?;
    let sizes = [1, 4095, 4096, 4097, 100_000];
    let counts = Counts::now()?;
    for size in sizes {
        old_netfs::write_new(&client, &size.to_string(), &pattern(size as u32, size))?;
    }
    client.sync()?;
    ensure!(
        counts.moved("CaWrOps.WR")? > 0,
        "netfs wrote nothing to the cache"
    );
    let names = sizes.map(|size| size.to_string());
    for (size, name) in sizes.into_iter().zip(&names) {
        server.check(name, &pattern(size as u32, size))?;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    client = again(ctx, &server, client, &names)?;
    for (size, name) in sizes.into_iter().zip(names) {
        client.check_warm(name, &pattern(size as u32, size))?;
    }
    client.unmount()
}

fn small_writes_into_a_cached_file_are_merged(ctx: &Context) -> Result<()> {
    let mut data = pattern(21, 20 * BLOCK + 1000);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    let client = {
        client.unmount()?;
        Client::mount(ctx)?
    };
    let file = client.open("file")?;
    for (number, offset, length) in [
        (1, 0, 1),
        (2, 100, 10),
        (3, BLOCK - 5, 10),
        (4, 5 * BLOCK + 1, 3 * BLOCK),
        (5, 12 * BLOCK, BLOCK),
        (6, 20 * BLOCK + 990, 10),
        (7, 20 * BLOCK + 1, 1),
    ] {
        let part = pattern(number + 100, length);
        let written = rustix::io::pwrite(&file, &part, offset as u64)?;
        ensure!(written == length, "wrote {written} of {length} bytes");
        data[offset..offset + length].copy_from_slice(&part);
    }
    drop(file);
    expect_written(ctx, &server, client, "file", &data)?.unmount()
}

fn appended_bytes_are_cached(ctx: &Context) -> Result<()> {
    let mut data = pattern(22, 5000);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    let mut file = File::options().append(true).open(client.path("file"))?;
    for number in 0..60 {
        let part = pattern(number, 17 + 31 * number as usize % 300);
        file.write_all(&part)?;
        data.extend_from_slice(&part);
        if number % 20 == 7 {
            file.sync_all()?;
        }
    }
    drop(file);
    expect_written(ctx, &server, client, "file", &data)?.unmount()
}

fn shortened_and_extended_file_has_zeros_between(ctx: &Context) -> Result<()> {
    let full = pattern(23, 12 * BLOCK + 500);
    let server = Server::new(ctx)?;
    server.put("file", &full)?;
    let _device = bind(ctx, &[])?;
    let mut client = Client::mount(ctx)?;
    for (short, long) in [
        (6 * BLOCK + 100, 12 * BLOCK + 500),
        (4 * BLOCK, 4 * BLOCK + 1),
        (3 * BLOCK + 1, 3 * BLOCK + 4000),
        (1, 9 * BLOCK),
        (0, 7000),
    ] {
        let mut data = server.get("file")?;
        client.check("file", &data)?;
        client.sync()?;
        let counts = Counts::now()?;
        let file = client.open("file")?;
        file.set_len(short as u64)?;
        data.truncate(short);
        client.check("file", &data)?;
        file.set_len(long as u64)?;
        data.resize(long, 0);
        client.check("file", &data)?;
        drop(file);
        ensure!(
            counts.moved("Updates.rsz")? == 2,
            "the cache was told {} times of a new size",
            counts.moved("Updates.rsz")?
        );
        client = expect_read_back(ctx, &server, client, "file", &data)
            .with_context(|| format!("cut to {short} and extended to {long}"))?;
    }
    client.unmount()
}

/// Like [`expect_written`], where not every part needs to be in the cache.
fn expect_read_back(
    ctx: &Context,
    server: &Server,
    client: Client,
    name: &str,
    data: &[u8],
) -> Result<Client> {
    client.sync()?;
    server.check(name, data)?;
    drop_caches(false)?;
    client
        .check_by_block(name, data)
        .context("before the remount")?;
    let client = again(ctx, server, client, &[name])?;
    client.check_by_block(name, data)?;
    Ok(client)
}

fn file_opened_with_o_trunc_loses_what_the_cache_had(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    server.put("file", &pattern(24, 30 * BLOCK))?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &pattern(24, 30 * BLOCK))?;
    client.sync()?;
    let data = pattern(25, 2 * BLOCK + 5);
    fs::write(client.path("file"), &data)?;
    let client = expect_read_back(ctx, &server, client, "file", &data)?;
    // Larger than anything before, with a hole over what there was at first.
    let mut file = File::create(client.path("file"))?;
    file.seek(SeekFrom::Start(40 * BLOCK as u64))?;
    file.write_all(b"end")?;
    drop(file);
    let mut data = vec![0; 40 * BLOCK];
    data.extend_from_slice(b"end");
    expect_read_back(ctx, &server, client, "file", &data)?.unmount()
}

fn mapped_writes_reach_the_server_and_the_cache(ctx: &Context) -> Result<()> {
    if sys::has_lockdep() {
        // Seen with the C module, too. Lockdep says so once, and then nothing any more.
        let reason = "9p writes a mapping back with mmap_lock held, and a write to a file system must not begin there";
        return Err(Skip(reason.into()).into());
    }
    let mut data = pattern(26, 15 * BLOCK + 700);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    let file = client.open("file")?;
    for (number, offset, length) in [(1, 10, 20), (2, 7 * BLOCK - 3, 6), (3, 15 * BLOCK, 700)] {
        let part = pattern(number + 200, length);
        crate::raw::copy_to_mapping(&file, offset, &part)?;
        data[offset..offset + length].copy_from_slice(&part);
    }
    file.sync_all()?;
    drop(file);
    expect_written(ctx, &server, client, "file", &data)?.unmount()
}

fn direct_writes_invalidate_the_cached_file(ctx: &Context) -> Result<()> {
    let mut data = pattern(27, 16 * BLOCK);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    client.check_warm("file", &data)?;
    let path = client.cache_file("file")?;
    ensure!(path.exists(), "{} was not stored", path.display());
    let counts = Counts::now()?;
    let file = open_direct(&client.path("file"))?;
    let mut buffer = AlignedBuffer::new(2 * BLOCK);
    buffer.copy_from_slice(&pattern(28, 2 * BLOCK));
    for block in [3, 9] {
        rustix::io::pwrite(&file, &buffer, (block * BLOCK) as u64)?;
        data[block * BLOCK..(block + 2) * BLOCK].copy_from_slice(&buffer);
    }
    ensure!(counts.moved("Invals.n")? > 0, "fscache saw no invalidation");
    server.check("file", &data)?;
    crate::sys::wait_for("the old file to go", crate::task::soon(), || !path.exists())?;
    drop(file);
    drop_caches(false)?;
    client.check_cold("file", &data)?;
    // Not open any more, it may be stored again: by a mount that finds the new version.
    client.unmount()?;
    for warm in [false, true] {
        let client = Client::mount(ctx)?;
        if warm {
            client.check_warm("file", &data)?;
        } else {
            client.check("file", &data)?;
        }
        client.unmount()?;
    }
    Ok(())
}

fn large_writes_reach_the_server_and_the_cache(ctx: &Context) -> Result<()> {
    let data = pattern(29, 3 * 1024 * 1024 + 99);
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    fs::write(client.path("file"), &data)?;
    expect_written(ctx, &server, client, "file", &data)?.unmount()
}

fn renamed_file_stays_cached_and_an_unlinked_one_does_not_come_back(ctx: &Context) -> Result<()> {
    let (kept, gone) = (pattern(30, 3 * BLOCK), pattern(31, 3 * BLOCK));
    let server = Server::new(ctx)?;
    server.put("kept", &kept)?;
    server.put("gone", &gone)?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("kept", &kept)?;
    client.check("gone", &gone)?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    fs::rename(client.path("kept"), client.path("renamed"))?;
    let file = client.open("gone")?;
    fs::remove_file(client.path("gone"))?;
    let mut seen = vec![0; gone.len()];
    rustix::io::pread(&file, &mut seen, 0)?;
    same(&seen, &gone).context("unlinked and still open")?;
    drop(file);
    // Its number may be used again for this one.
    fs::write(client.path("fresh"), b"fresh")?;
    client.check_warm("renamed", &kept)?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    client.check_warm("renamed", &kept)?;
    client.check("fresh", b"fresh")?;
    ensure!(!client.path("gone").exists(), "it is there again");
    client.unmount()
}

/// Numbers that look random, the same in every run.
struct Dice(u32);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % limit
    }
}

fn random_operations_agree_with_a_model(ctx: &Context) -> Result<()> {
    const MOST: usize = 40 * BLOCK;
    let server = Server::new(ctx)?;
    let mut data = pattern(40, 20 * BLOCK + 33);
    server.put("file", &data)?;
    let _device = bind(ctx, &[])?;
    let mut client = Client::mount(ctx)?;
    let mut dice = Dice(0x5eed);
    for round in 0..6 {
        let file = client.open("file")?;
        for step in 0..60 {
            let what = || format!("round {round}, step {step}");
            match dice.below(12) {
                0..5 => {
                    let (offset, length) = (dice.below(MOST - 1), 1 + dice.below(3 * BLOCK));
                    let part = pattern(step + 1000 * round, length.min(MOST - offset));
                    data.resize(data.len().max(offset + part.len()), 0);
                    data[offset..offset + part.len()].copy_from_slice(&part);
                    let written = rustix::io::pwrite(&file, &part, offset as u64)?;
                    ensure!(written == part.len(), "{}: a short write", what());
                }
                5..9 => {
                    let (offset, length) = (dice.below(MOST), 1 + dice.below(4 * BLOCK));
                    let mut part = vec![0; length];
                    let read = rustix::io::pread(&file, &mut part, offset as u64)?;
                    let start = offset.min(data.len());
                    let end = (offset + length).min(data.len()).max(start);
                    same(&part[..read], &data[start..end])
                        .with_context(|| format!("{}: read at {offset}", what()))?;
                }
                9 => {
                    let size = dice.below(MOST);
                    file.set_len(size as u64).with_context(what)?;
                    data.resize(size, 0);
                }
                10 => file.sync_all().with_context(what)?,
                _ => drop_caches(false)?,
            }
        }
        drop(file);
        client = expect_read_back(ctx, &server, client, "file", &data)
            .with_context(|| format!("after round {round}"))?;
    }
    client.unmount()
}
