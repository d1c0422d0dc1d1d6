// SPDX-License-Identifier: GPL-2.0
//! I/O on the cache's disk that ends after it was begun: in an error, or slowly.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{AlignedBuffer, Errno};

use super::stale::{cached, check, opened};
use super::world::{BLOCK, Client, Counts, Server, State, bind, drop_caches, open_direct};
use crate::bad_disk::{BadDisk, Speed};
use crate::context::{Context, expect_errno};
use crate::image::pattern;
use crate::raw;
use crate::registry::{Skip, Test, test};
use crate::sys;
use crate::task::{Task, soon};

pub const TESTS: &[Test] = &[
    test!(
        read_that_fails_late_is_served_by_the_server,
        "a bad sector of the cache's disk is no error of the reader"
    )
    .c_fails("the reader gets the error"),
    test!(
        write_that_fails_late_is_not_read_from_the_cache,
        "what did not reach the disk is not undone by what was there before"
    )
    .c_fails("the cache goes on with the old data"),
    test!(
        write_to_a_replaced_file_that_fails_late_spares_the_new_one,
        "D8: an error of the file that was does not cost the one in its place"
    )
    .limit(120),
    test!(
        writes_in_flight_count_as_space_that_is_taken_until_they_end,
        "what is on its way to the disk is not given away a second time, nor for ever"
    )
    .limit(60),
];

fn read_that_fails_late_is_served_by_the_server(ctx: &Context) -> Result<()> {
    let disk = BadDisk::new(64, Speed::Fast)?;
    disk.mount_as_cache()?;
    let server = Server::new(ctx)?;
    let data = pattern(90, 12 * BLOCK);
    server.put("file", &data)?;
    let device = bind(ctx, &[])?;
    for _ in 0..2 {
        let client = Client::mount(ctx)?;
        client.check("file", &data)?;
        client.unmount()?;
    }
    let client = Client::mount(ctx)?;
    client.check_warm("file", &data)?;
    let path = client.cache_file("file")?;
    let bad = 3 * BLOCK as u64..5 * BLOCK as u64;
    disk.spoil(&path, bad.clone())?;
    let counts = Counts::now()?;
    for round in 0..3 {
        drop_caches(false)?;
        client
            .check("file", &data)
            .with_context(|| format!("round {round} with bad sectors"))?;
    }
    ensure!(
        counts.moved("CaRdOps.RD")? >= 3,
        "the cache was asked {} times",
        counts.moved("CaRdOps.RD")?
    );
    // That it could not answer, by the same way.
    let direct = open_direct(&path)?;
    let read = rustix::io::pread(&direct, &mut *AlignedBuffer::new(BLOCK), bad.start);
    expect_errno(read, Errno::IO, "a read of the bad sectors")?;
    drop(direct);
    device.command("debug 0").context("the cache died")?;
    disk.mend(&path, bad)?;
    drop_caches(false)?;
    client.check("file", &data)?;
    client.unmount()
}

fn write_that_fails_late_is_not_read_from_the_cache(ctx: &Context) -> Result<()> {
    // A fast disk may be done before the call that began the write returns, and then it fails
    // there.
    let disk = BadDisk::new(32, Speed::Slow(Duration::from_millis(5)))?;
    disk.mount_as_cache()?;
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let (client, file) = cached(ctx, &server)?;
    // The file has its name from the second use on.
    drop(file);
    client.unmount()?;
    // Not put there again: that would be another version, and so another file, if a second has
    // passed.
    let counts = Counts::now()?;
    let (client, file) = opened(ctx)?;
    let downloads = counts.moved("DownOps.DL")?;
    ensure!(
        downloads == 0,
        "the second use took {downloads} reads from the server"
    );
    let path = client.cache_file("file")?;
    let mut expected = super::stale::data();
    let bad = 2 * BLOCK as u64..4 * BLOCK as u64;
    disk.spoil(&path, bad.clone())?;
    let counts = Counts::now()?;
    let fresh = pattern(91, 4 * BLOCK);
    rustix::io::pwrite(&file, &fresh, BLOCK as u64)?;
    file.sync_all().context("fsync")?;
    expected[BLOCK..5 * BLOCK].copy_from_slice(&fresh);
    ensure!(
        counts.moved("CaWrOps.wf")? > 0,
        "netfs knows of {} writes to the cache, of which {} failed",
        counts.moved("CaWrOps.WR")?,
        counts.moved("CaWrOps.wf")?
    );
    disk.mend(&path, bad)?;
    check(&server, ctx, client, file, &expected)
}

fn write_to_a_replaced_file_that_fails_late_spares_the_new_one(ctx: &Context) -> Result<()> {
    if sys::has_lockdep() {
        // See `mapped_writes_reach_the_server_and_the_cache`.
        return Err(Skip("9p's writing back of mappings ends lockdep".into()).into());
    }
    let disk = BadDisk::new(32, Speed::Slow(Duration::from_millis(250)))?;
    disk.mount_as_cache()?;
    let server = Server::new(ctx)?;
    let mut data = pattern(94, 128 * BLOCK);
    server.put("file", &data)?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    client.unmount()?;

    let client = Client::mount(ctx)?;
    let file = client.open("file")?;
    client.check_warm("file", &data)?;
    let path = client.cache_file("file")?;
    // What is written is in other pages than what is written past them, also where pages are large.
    let (written, direct) = (BLOCK, 100 * BLOCK);
    let bad = 2 * BLOCK as u64..4 * BLOCK as u64;
    disk.spoil(&path, bad.clone())?;
    let old = File::open(&path)?;
    // netfs waits for all pages where a file is read or written past them for the first time.
    let past = open_direct(&client.path("file"))?;
    let mut buffer = AlignedBuffer::new(BLOCK);
    rustix::io::pread(&past, &mut *buffer, direct as u64)?;

    let counts = Counts::now()?;
    let fresh = pattern(95, 4 * BLOCK);
    raw::copy_to_mapping(&file, written, &fresh)?;
    data[written..written + fresh.len()].copy_from_slice(&fresh);
    buffer.copy_from_slice(&pattern(96, BLOCK));
    rustix::io::pwrite(&past, &buffer, direct as u64)?;
    data[direct..direct + BLOCK].copy_from_slice(&buffer);
    sys::wait_for("the old file to go", soon(), || !path.exists())?;
    let (begun, failed) = (counts.moved("CaWrOps.WR")?, counts.moved("CaWrOps.wf")?);
    ensure!(begun > 0, "nothing was written to the old file");
    if failed > 0 {
        return Err(Skip("the write ended before the file was replaced".into()).into());
    }
    file.sync_all()?;
    ensure!(counts.moved("CaWrOps.wf")? > 0, "the write did not fail");
    disk.mend(
        &PathBuf::from(format!("/proc/self/fd/{}", old.as_raw_fd())),
        bad,
    )?;
    drop((file, past, old));
    server.check("file", &data)?;
    client.unmount()?;
    ensure!(path.exists(), "the new file was not kept");
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    client.unmount()
}

/// The percentage of the cache's blocks that is available.
fn available() -> Result<u64> {
    let stats = rustix::fs::statvfs(sys::CACHE)?;
    Ok(stats.f_bavail * 100 / stats.f_blocks)
}

fn writes_in_flight_count_as_space_that_is_taken_until_they_end(ctx: &Context) -> Result<()> {
    let disk = BadDisk::new(32, Speed::Slow(Duration::from_millis(20)))?;
    disk.mount_as_cache()?;
    let server = Server::new(ctx)?;
    let data = pattern(92, 2 << 20);
    server.put("file", &data)?;
    {
        let _device = bind(ctx, &[])?;
        let client = Client::mount(ctx)?;
        client.check("file", &data)?;
        client.unmount()?;
    }
    rustix::fs::sync();
    // Two megabytes are more than six percent, and overwriting takes none.
    let left = available()?;
    let (run, cull) = (left - 1, left - 2);
    let device = bind(ctx, &[&format!("bcull {cull}%"), &format!("brun {run}%")])
        .or_else(|_| bind(ctx, &[&format!("brun {run}%"), &format!("bcull {cull}%")]))?;
    let client = Client::mount(ctx)?;
    client.check_warm("file", &data)?;
    ensure!(
        !State::read(&device)?.culls()?,
        "culls while nothing is written"
    );
    for round in 0..2 {
        let file = client.open("file")?;
        let fresh = pattern(93 + round, data.len());
        rustix::io::pwrite(&file, &fresh, 0)?;
        let sync = Task::start("fsync", move || file.sync_all());
        let mut culled = false;
        while !sync.is_done() {
            culled |= State::read(&device)?.culls()?;
            std::thread::sleep(Duration::from_millis(2));
        }
        sync.finish()?.context("fsync")?;
        ensure!(culled, "round {round}: what was on its way did not count");
        sys::wait_for("what was written to count no more", soon(), || {
            State::read(&device)
                .and_then(|state| state.culls())
                .is_ok_and(|culls| !culls)
        })
        .with_context(|| format!("round {round}"))?;
        client.check("file", &fresh)?;
    }
    client.unmount()
}
