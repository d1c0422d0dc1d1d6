// SPDX-License-Identifier: GPL-2.0
//! I/O on the cache's disk that ends after it was begun: in an error, or slowly.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{AlignedBuffer, Errno};

use super::stale::{cached, check, opened};
use super::world::{BLOCK, Client, Counts, Server, State, bind, drop_caches, open_direct};
use crate::bad_disk::{BadDisk, Speed};
use crate::context::{Context, expect_errno};
use crate::image::pattern;
use crate::registry::{Test, test};
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
    // A fast disk may be done before the call that began the write returns, and then it fails there.
    let disk = BadDisk::new(32, Speed::Slow(Duration::from_millis(5)))?;
    disk.mount_as_cache()?;
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let (client, file) = cached(ctx, &server)?;
    // The file has its name from the second use on.
    drop(file);
    client.unmount()?;
    // Not put there again: that would be another version, and so another file, if a second has passed.
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
