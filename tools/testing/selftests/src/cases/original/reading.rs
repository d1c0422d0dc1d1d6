// SPDX-License-Identifier: GPL-2.0
//! Reading through the cache: what comes from the server is stored, what is stored is not asked for
//! again, and the contents are those of the server.
//!
//! Whole blocks, that is: of a block that the end of the file cuts, netfs of 6.12 reads a part from
//! the server and clears the rest, and does not hand it to the cache. Where a test counts what came
//! from the server, files are whole blocks, but for [`server_reads_of_the_tail`].

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::AlignedBuffer;
use rustix::fs::Advice;

use super::old_netfs;
use super::world::{BLOCK, Client, Counts, Server, bind, drop_caches, same, stored_files};
use crate::context::Context;
use crate::image::pattern;
use crate::registry::{Test, test};
use crate::sys;
use crate::task::{Task, soon};

pub const TESTS: &[Test] = &[
    test!(
        files_of_every_size_are_stored_and_read_back_without_the_server,
        "the point of the cache; the partial block at the end of a file"
    ),
    test!(
        cache_file_is_whole_blocks_with_zeros_behind_the_end,
        "the layout on disk: the end is padded to a block"
    ),
    test!(
        holes_of_a_file_are_zeros,
        "no other file's data shows in a hole"
    ),
    test!(
        parts_of_a_file_are_stored_as_they_are_read,
        "a read over cached and uncached parts is put together right"
    ),
    test!(
        new_file_is_read_from_the_cache_once_its_pages_are_gone,
        "what was stored is used at once, and not from the next mount on"
    ),
    test!(
        mapped_file_reads_the_same,
        "page faults take the way of the cache"
    ),
    test!(
        direct_reads_see_the_server,
        "O_DIRECT does not go through the cache, and is not spoilt by it"
    ),
    test!(
        large_files_are_read_and_stored_in_large_pieces,
        "CVE-2024-46748: a piece over the greatest size of an I/O does not hang"
    )
    .limit(60),
    test!(
        many_readers_of_one_cold_file_see_the_same,
        "look-up, creation and reading at the same time"
    ),
    test!(
        files_with_a_partial_last_block_are_read_again_and_again,
        "what is fetched for the end of a file does not get lost between its neighbours, nor is anything stored twice"
    )
    .c_skips("netfs now and then loses it, and runs into a BUG: \"Can't donate prior to front\"")
    .limit(60),
    test!(
        volume_is_made_while_its_first_file_is_opened,
        "CVE-2024-56755: nobody misses the end of a volume's creation"
    )
    .limit(60),
];

/// How often the server is asked for a file that the cache has: for the block that its end cuts.
fn server_reads_of_the_tail(size: usize) -> i64 {
    i64::from(size % BLOCK != 0)
}

fn files_of_every_size_are_stored_and_read_back_without_the_server(ctx: &Context) -> Result<()> {
    let sizes = [
        0,
        1,
        511,
        4095,
        4096,
        4097,
        8191,
        12_288,
        65_537,
        1024 * 1024,
        1024 * 1024 + 1,
    ];
    let server = Server::new(ctx)?;
    for size in sizes {
        server.put(&size.to_string(), &pattern(size as u32, size))?;
    }
    let mut device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    for size in sizes {
        client.check(&size.to_string(), &pattern(size as u32, size))?;
    }
    client.unmount()?;
    for round in 0..2 {
        let client = Client::mount(ctx)?;
        for size in sizes {
            let counts = Counts::now()?;
            client.check_by_block(&size.to_string(), &pattern(size as u32, size))?;
            let (server, cache) = (counts.moved("DownOps.DL")?, counts.moved("CaRdOps.RD")?);
            ensure!(
                server == server_reads_of_the_tail(size),
                "{size} bytes, round {round}: {server} reads came from the server"
            );
            ensure!(
                (cache > 0) == (size >= BLOCK),
                "{size} bytes, round {round}: {cache} reads came from the cache"
            );
            ensure!(
                counts.moved("IO.rd")? == cache,
                "{size} bytes: fscache counted {} of {cache} reads",
                counts.moved("IO.rd")?
            );
        }
        client.unmount()?;
        // And by another daemon, after the cache was down.
        drop(device);
        device = bind(ctx, &[])?;
    }
    Ok(())
}

fn cache_file_is_whole_blocks_with_zeros_behind_the_end(ctx: &Context) -> Result<()> {
    let sizes = [1, 4095, 4096, 4097, 10_000];
    let server = Server::new(ctx)?;
    for size in sizes {
        server.put(&format!("read-{size}"), &pattern(size as u32, size))?;
    }
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    let mut paths = Vec::new();
    for size in sizes {
        let name = format!("read-{size}");
        client.check(&name, &pattern(size as u32, size))?;
        paths.push((size, size - size % BLOCK, client.cache_file(&name)?));
        // What is written is stored to the last byte.
        let name = format!("written-{size}");
        old_netfs::write_new(&client, &name, &pattern(size as u32, size))?;
        paths.push((size, size, client.cache_file(&name)?));
    }
    client.unmount()?;
    for (size, stored, path) in &paths {
        let mut expected = pattern(*size as u32, *size);
        expected.truncate(*stored);
        expected.resize(size.next_multiple_of(BLOCK), 0);
        let seen = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        same(&seen, &expected)
            .with_context(|| format!("the cache file of {size} bytes, {stored} of them stored"))?;
        let mode = fs::metadata(path)?.mode();
        ensure!(mode == 0o100_600, "its mode is {mode:o}");
    }
    let mut paths: Vec<_> = paths.into_iter().map(|(.., path)| path).collect();
    paths.sort();
    ensure!(stored_files()? == paths, "stored are {:?}", stored_files()?);
    Ok(())
}

fn holes_of_a_file_are_zeros(ctx: &Context) -> Result<()> {
    let mut data = vec![0; 40 * BLOCK];
    for (block, seed) in [(0, 1), (7, 2), (8, 3), (30, 4)] {
        data[block * BLOCK..(block + 1) * BLOCK].copy_from_slice(&pattern(seed, BLOCK));
    }
    let server = Server::new(ctx)?;
    let file = File::create(server.path("file"))?;
    file.set_len(data.len() as u64)?;
    for block in [0, 7, 8, 30] {
        let part = &data[block * BLOCK..(block + 1) * BLOCK];
        rustix::io::pwrite(&file, part, (block * BLOCK) as u64)?;
    }
    drop(file);
    // A file without a single block.
    File::create(server.path("empty"))?.set_len(5 * BLOCK as u64 + 1)?;
    let _device = bind(ctx, &[])?;
    for _ in 0..2 {
        let client = Client::mount(ctx)?;
        client.check("file", &data)?;
        client.check("empty", &vec![0; 5 * BLOCK + 1])?;
        client.unmount()?;
    }
    let client = Client::mount(ctx)?;
    client.check_warm("file", &data)?;
    client.unmount()
}

fn parts_of_a_file_are_stored_as_they_are_read(ctx: &Context) -> Result<()> {
    let data = pattern(11, 64 * BLOCK);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    let file = File::open(client.path("file"))?;
    // Without reading ahead, so that islands arise.
    rustix::fs::fadvise(&file, 0, None, Advice::Random)?;
    for (offset, length) in [
        (0, 1),
        (3 * BLOCK + 100, 10),
        (9 * BLOCK - 5, 10),
        (20 * BLOCK, 4 * BLOCK),
        (64 * BLOCK - 100, 100),
    ] {
        let mut part = vec![0; length];
        let read = rustix::io::pread(&file, &mut part, offset as u64)?;
        ensure!(read == length, "read {read} of {length} bytes at {offset}");
        same(&part, &data[offset..offset + length])?;
    }
    drop(file);
    let path = client.cache_file("file")?;
    client.unmount()?;
    let stored = fs::metadata(&path)?.blocks() * 512;
    ensure!(
        stored >= 9 * BLOCK as u64 && stored < 50 * BLOCK as u64,
        "{stored} bytes are stored"
    );
    let client = Client::mount(ctx)?;
    let file = File::open(client.path("file"))?;
    rustix::fs::fadvise(&file, 0, None, Advice::Random)?;
    // The server is asked for what is around an island, and not for the island.
    let counts = Counts::now()?;
    let mut part = vec![0; 8 * BLOCK];
    let read = rustix::io::pread(&file, &mut part, 18 * BLOCK as u64)?;
    ensure!(read == part.len(), "read {read} bytes around the island");
    same(&part, &data[18 * BLOCK..26 * BLOCK])?;
    let (server_reads, cache_reads) = (counts.moved("DownOps.DL")?, counts.moved("CaRdOps.RD")?);
    ensure!(
        (server_reads, cache_reads) == (2, 1),
        "around an island: {server_reads} reads from the server, {cache_reads} from the cache"
    );
    drop(file);
    let counts = Counts::now()?;
    client.check("file", &data)?;
    let (server_reads, cache_reads) = (counts.moved("DownOps.DL")?, counts.moved("CaRdOps.RD")?);
    ensure!(
        server_reads > 0 && cache_reads > 0,
        "{server_reads} reads from the server, {cache_reads} from the cache"
    );
    client.unmount()?;
    let client = Client::mount(ctx)?;
    client.check_warm("file", &data)?;
    client.unmount()
}

fn new_file_is_read_from_the_cache_once_its_pages_are_gone(ctx: &Context) -> Result<()> {
    let data = pattern(17, 9 * BLOCK);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    let file = client.open("file")?;
    client.check_cold("file", &data)?;
    client.sync()?;
    drop_caches(false)?;
    client.check_warm("file", &data)?;
    drop(file);
    client.unmount()
}

fn mapped_file_reads_the_same(ctx: &Context) -> Result<()> {
    let data = pattern(12, 33 * BLOCK);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let _device = bind(ctx, &[])?;
    for warm in [false, true] {
        let client = Client::mount(ctx)?;
        let counts = Counts::now()?;
        let file = File::open(client.path("file"))?;
        let mut seen = vec![0; data.len()];
        crate::raw::copy_from_mapping(&file, &mut seen)?;
        same(&seen, &data)?;
        drop(file);
        let server_reads = counts.moved("DownOps.DL")?;
        ensure!(
            (server_reads == 0) == warm,
            "{server_reads} reads came from the server"
        );
        client.unmount()?;
    }
    Ok(())
}

fn direct_reads_see_the_server(ctx: &Context) -> Result<()> {
    let data = pattern(13, 10 * BLOCK);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    client.sync()?;
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(client.path("file"))?;
    let mut buffer = AlignedBuffer::new(4 * BLOCK);
    for block in [0, 5, 8] {
        let read = rustix::io::pread(&file, &mut *buffer, (block * BLOCK) as u64)?;
        let expected = &data[block * BLOCK..(block * BLOCK + 4 * BLOCK).min(data.len())];
        same(&buffer[..read], expected).with_context(|| format!("at block {block}"))?;
    }
    drop(file);
    drop_caches(false)?;
    client.check_warm("file", &data)?;
    client.unmount()
}

fn large_files_are_read_and_stored_in_large_pieces(ctx: &Context) -> Result<()> {
    let data = pattern(14, 4 * 1024 * 1024);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let _device = bind(ctx, &[])?;
    for warm in [false, true] {
        let client = Client::mount(ctx)?;
        let counts = Counts::now()?;
        let file = File::open(client.path("file"))?;
        rustix::fs::fadvise(&file, 0, None, Advice::Sequential)?;
        rustix::fs::fadvise(&file, 0, None, Advice::WillNeed)?;
        client.check("file", &data)?;
        let server_reads = counts.moved("DownOps.DL")?;
        ensure!(
            (server_reads == 0) == warm,
            "{server_reads} reads came from the server"
        );
        drop(file);
        client.unmount()?;
    }
    Ok(())
}

fn many_readers_of_one_cold_file_see_the_same(ctx: &Context) -> Result<()> {
    let data = pattern(15, 50 * BLOCK);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let _device = bind(ctx, &[])?;
    for _ in 0..2 {
        let client = Client::mount(ctx)?;
        let readers: Vec<_> = (0..8)
            .map(|_| crate::task::read_in_background(&client.path("file")))
            .collect();
        for reader in readers {
            same(&reader.finish()??, &data)?;
        }
        client.unmount()?;
    }
    Ok(())
}

fn files_with_a_partial_last_block_are_read_again_and_again(ctx: &Context) -> Result<()> {
    // One part of each read comes from the cache, the last one from the server: how long the first
    // one is decides which of them is done first.
    let contents =
        [2, 6, 20, 60].map(|blocks| Arc::new(pattern(blocks, blocks as usize * BLOCK + 5)));
    let server = Server::new(ctx)?;
    for (number, data) in contents.iter().enumerate() {
        server.put(&number.to_string(), data)?;
    }
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    for (number, data) in contents.iter().enumerate() {
        client.check(&number.to_string(), data)?;
    }
    client.sync()?;
    let counts = Counts::now()?;
    // Three for each file, so that they get in each other's way.
    let readers = (0..3 * contents.len()).map(|reader| {
        let number = reader % contents.len();
        let (path, data) = (
            client.path(&number.to_string()),
            Arc::clone(&contents[number]),
        );
        Task::start("a reader", move || -> Result<()> {
            let file = File::open(path)?;
            let mut seen = vec![0; data.len()];
            for round in 0..100 {
                rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
                let read = rustix::io::pread(&file, &mut seen, 0)?;
                same(&seen[..read], &data).with_context(|| format!("{number} in round {round}"))?;
            }
            Ok(())
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        reader.finish_within(3 * soon())??;
    }
    ensure!(
        counts.moved("CaRdOps.RD")? > 300,
        "{} reads came from the cache",
        counts.moved("CaRdOps.RD")?
    );
    client.sync()?;
    let stored = counts.moved("CaWrOps.WR")?;
    ensure!(stored == 0, "{stored} writes of what was stored already");
    client.unmount()
}

fn volume_is_made_while_its_first_file_is_opened(ctx: &Context) -> Result<()> {
    let data = pattern(16, BLOCK);
    let server = Server::new(ctx)?;
    for number in 0..4 {
        server.put(&number.to_string(), &data)?;
    }
    for round in 0..6 {
        let tag = format!("round-{round}");
        if round % 3 == 2 {
            // Where the directory cannot be made nobody must wait for it.
            let place = Path::new(sys::CACHE).join(format!("cache/I9p,share,{tag}"));
            fs::write(&place, "x").with_context(|| format!("writing {}", place.display()))?;
        }
        // Mounted before there is a cache, the volume is made for the first file, else at the
        // mount.
        let (device, client) = if round % 2 == 0 {
            let device = bind(ctx, &[])?;
            (device, Client::mount_as(ctx, &tag)?)
        } else {
            let client = Client::mount_as(ctx, &tag)?;
            (bind(ctx, &[])?, client)
        };
        let readers: Vec<_> = (0..4)
            .map(|number| {
                let path = client.path(&number.to_string());
                Task::start("the first reader", move || fs::read(path))
            })
            .collect();
        for (number, reader) in readers.into_iter().enumerate() {
            let seen = reader.finish()?;
            let seen = seen.with_context(|| format!("reading {number} in round {round}"))?;
            same(&seen, &data)?;
        }
        client.unmount()?;
        drop(device);
    }
    ensure!(
        stored_files()?.len() == 4 * 4 + 2,
        "stored are {:?}",
        stored_files()?
    );
    Ok(())
}
