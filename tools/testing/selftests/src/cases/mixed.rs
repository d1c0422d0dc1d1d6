// SPDX-License-Identifier: GPL-2.0
//! `mixed`: images and network file systems in one cache, with one daemon.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;
use rustix::fs::{FallocateFlags, fallocate};

use super::debugfs;
use super::original::world::{Client, Counts, Server, command_at, drop_caches};
use super::restore::two_blobs;
use crate::context::{Context, TAG, expect_errno};
use crate::image::{BLOCK, Image, pattern};
use crate::registry::{Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::sys;
use crate::task::{read_in_background, soon};

const NO_MIXED: &str = "there is no `mixed`, and an on-demand cache refuses network files";

pub const TESTS: &[Test] = &[
    test!(
        network_file_and_image_are_cached_side_by_side_with_mixed,
        "one machine has NFS and images in one cache"
    )
    .c_fails(NO_MIXED),
    test!(
        network_file_is_not_cached_on_demand_without_mixed,
        "nothing changes for daemons that do not ask for it"
    ),
    test!(
        network_file_needs_no_daemon_with_mixed,
        "a daemon that stands still holds up only images"
    )
    .c_fails(NO_MIXED),
    test!(
        network_file_is_cached_when_the_daemon_is_gone_with_mixed,
        "a daemon that ends takes nothing away from network files"
    )
    .c_fails(NO_MIXED),
    test!(
        network_file_of_another_version_is_fetched_anew_with_mixed,
        "no client sees what the server does not have any more"
    )
    .c_fails(NO_MIXED),
    test!(
        network_file_is_culled_with_mixed,
        "a daemon makes room by files of both kinds"
    )
    .c_fails(NO_MIXED),
    test!(
        network_file_with_a_hole_is_fetched_from_its_server_with_mixed,
        "no zeros in the place of what is not cached"
    )
    .c_fails(NO_MIXED),
    test!(
        next_daemon_may_have_no_mixed,
        "what is open stays as it is, and the next look-up is refused"
    )
    .c_fails(NO_MIXED),
    test!(
        mixed_is_0_or_1_and_comes_before_bind,
        "a mistake is refused"
    )
    .c_fails(NO_MIXED),
];

const FSID: &str = "mixed";
const LEN: usize = 12 * BLOCK;

/// A daemon of a cache of both kinds.
fn mixed(ctx: &Context, image: &Image) -> Result<Session> {
    let device = ctx.device()?;
    device.set_mixed(true)?;
    device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))?;
    Ok(Session::new(Arc::new(device), blobs_of(FSID, image)))
}

/// What there is: a server's file, an image, a daemon, and a client.
struct World {
    data: Vec<u8>,
    image: Image,
    // In this order they go.
    client: Client,
    mount: Mount,
    session: Session,
    server: Server,
}

impl World {
    fn new(ctx: &Context) -> Result<Self> {
        let (data, image) = (pattern(5, LEN), two_blobs());
        let server = Server::new(ctx)?;
        server.put("file", &data)?;
        let mut session = mixed(ctx, &image)?;
        let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
        let client = Client::mount(ctx)?;
        Ok(Self {
            data,
            image,
            client,
            mount,
            session,
            server,
        })
    }

    /// Has the client's file stored, with nobody using it then.
    fn store(mut self, ctx: &Context) -> Result<Self> {
        self.client.check_cold("file", &self.data)?;
        let stored = self.client.cache_file("file")?;
        // netfs may be writing to it: until it is put away a power cut leaves nothing of it.
        ensure!(!stored.exists(), "{} has its name", stored.display());
        unmount(self.client)?;
        self.client = Client::mount(ctx)?;
        Ok(self)
    }

    fn end(mut self) -> Result<()> {
        unmount(self.client)?;
        self.session.unmount(self.mount)?;
        self.session.settle()
    }
}

/// Unmounts the client, and waits until the cache has put its files away.
fn unmount(client: Client) -> Result<()> {
    client.unmount_at_once()?;
    sys::wait_for("the client's volume to go", soon(), || {
        let volumes = sys::fscache_table("volumes");
        volumes.is_ok_and(|rows| !rows.iter().any(|row| row.contains("9p,")))
    })?;
    drop_caches(true)
}

/// The daemon is told of all blobs, and of nothing else.
fn opened_are_blobs(session: &Session) -> Result<()> {
    let opens = session.log.opens.iter();
    let opened: BTreeSet<_> = opens.map(|(_, _, key)| key).collect();
    let blobs: BTreeSet<_> = session.blobs.keys().collect();
    ensure!(opened == blobs, "OPENs of {opened:?}, not of {blobs:?}");
    Ok(())
}

fn network_file_and_image_are_cached_side_by_side_with_mixed(ctx: &Context) -> Result<()> {
    let mut world = World::new(ctx)?;
    world.session.check_files(&world.mount, &world.image)?;
    let mut world = world.store(ctx)?;
    let stored = world.client.cache_file("file")?;
    ensure!(stored.exists(), "{} was not stored", stored.display());
    world.session.log.reads.clear();
    world.client.check_warm("file", &world.data)?;
    world.session.check_files(&world.mount, &world.image)?;
    let caches = debugfs::lines("caches")?;
    ensure!(caches == [[TAG, "mixed", "alive", "0"]], "{caches:?}");
    let shown = debugfs::lines("objects")?;
    let states: BTreeSet<_> = shown
        .iter()
        .map(|line| (&line[6][..2], &*line[2]))
        .collect();
    let expected = BTreeSet::from([("9p", "-"), ("er", "open")]);
    ensure!(states == expected, "{shown:?}");
    let reads = &world.session.log.reads;
    ensure!(reads.is_empty(), "READs: {reads:?}");
    opened_are_blobs(&world.session)?;
    world.end()
}

fn network_file_is_not_cached_on_demand_without_mixed(ctx: &Context) -> Result<()> {
    let (data, image) = (pattern(5, LEN), two_blobs());
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let mut session = ctx.session(FSID, &image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    for _ in 0..2 {
        let client = Client::mount(ctx)?;
        let before = Counts::now()?;
        client.check("file", &data)?;
        ensure!(before.moved("DownOps.DL")? > 0, "the server was not asked");
        let stored = client.cache_file("file")?;
        unmount(client)?;
        ensure!(!stored.exists(), "{} was stored", stored.display());
        drop_caches(true)?;
    }
    opened_are_blobs(&session)?;
    session.unmount(mount)?;
    session.settle()
}

fn network_file_needs_no_daemon_with_mixed(ctx: &Context) -> Result<()> {
    let mut world = World::new(ctx)?;
    // From here on nobody reads the device.
    let reader = read_in_background(&world.mount.file("a"));
    sys::wait_for("the reader to wait", soon(), || reader.sleeps())?;
    for name in ["file", "other"] {
        world.server.put(name, &world.data)?;
        world.client.check_cold(name, &world.data)?;
    }
    unmount(world.client)?;
    world.client = Client::mount(ctx)?;
    for name in ["file", "other"] {
        world.client.check_warm(name, &world.data)?;
    }
    ensure!(!reader.is_done(), "the reader does not wait any more");
    world
        .session
        .pump_until("the reader to end", |_| reader.is_done())?;
    ensure!(reader.finish()?? == world.image.files["a"], "a is wrong");
    world.end()
}

fn network_file_is_cached_when_the_daemon_is_gone_with_mixed(ctx: &Context) -> Result<()> {
    let mut world = World::new(ctx)?;
    world.session.look_up(&world.mount.file("b"))?;
    let seen = world.session.read_file(&world.mount.file("a"))?;
    ensure!(seen == world.image.files["a"], "a is wrong");
    let World {
        data,
        image,
        mut client,
        mount,
        session,
        server,
    } = world;
    client.check_cold("file", &data)?;
    drop(session);
    // What is cached is read, and what is not is cached: the image's daemon alone is missing.
    for round in 0..3 {
        let name = format!("file-{round}");
        server.put(&name, &data)?;
        client.check_cold(&name, &data)?;
        unmount(client)?;
        client = Client::mount(ctx)?;
        for name in ["file", &name] {
            client.check_warm(name, &data)?;
        }
    }
    let seen = read_in_background(&mount.file("a")).finish()??;
    ensure!(seen == image.files["a"], "a is wrong without a daemon");
    let failed = read_in_background(&mount.file("b")).finish()?;
    let error = failed.err().and_then(|error| error.raw_os_error());
    ensure!(error == Some(libc::EIO), "what is not cached: {error:?}");
    // The next one has all of it.
    let mut session = mixed(ctx, &image)?;
    session.check_files(&mount, &image)?;
    client.check("file", &data)?;
    unmount(client)?;
    session.unmount(mount)?;
    session.settle()
}

fn network_file_of_another_version_is_fetched_anew_with_mixed(ctx: &Context) -> Result<()> {
    let mut world = World::new(ctx)?.store(ctx)?;
    world.client.check_warm("file", &world.data)?;
    unmount(world.client)?;
    let other = pattern(6, LEN / 2);
    world.server.change("file", &other)?;
    world.client = Client::mount(ctx)?;
    world.client.check_cold("file", &other)?;
    unmount(world.client)?;
    world.client = Client::mount(ctx)?;
    world.client.check_warm("file", &other)?;
    world.end()
}

fn network_file_is_culled_with_mixed(ctx: &Context) -> Result<()> {
    let world = World::new(ctx)?.store(ctx)?;
    let stored = world.client.cache_file("file")?;
    let device = Arc::clone(&world.session.device);
    let file = File::open(world.client.path("file"))?;
    world.client.check_warm("file", &world.data)?;
    for verb in ["inuse", "cull"] {
        let said = command_at(&device, &stored, verb)?;
        expect_errno(said, Errno::BUSY, verb)?;
    }
    drop(file);
    let World {
        data,
        client,
        mount,
        mut session,
        ..
    } = world;
    unmount(client)?;
    sys::wait_for("the file to be left", soon(), || {
        command_at(&device, &stored, "inuse").is_ok_and(|said| said.is_ok())
    })?;
    command_at(&device, &stored, "cull")?.context("cull")?;
    ensure!(!stored.exists(), "it is still there");
    let client = Client::mount(ctx)?;
    client.check_cold("file", &data)?;
    unmount(client)?;
    drop(device);
    session.unmount(mount)?;
    session.settle()
}

fn network_file_with_a_hole_is_fetched_from_its_server_with_mixed(ctx: &Context) -> Result<()> {
    let world = World::new(ctx)?.store(ctx)?;
    let stored = File::options()
        .write(true)
        .open(world.client.cache_file("file")?)?;
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    for page in [0, 7, 11] {
        fallocate(&stored, punch, (page * BLOCK) as u64, BLOCK as u64)?;
    }
    drop(stored);
    world.client.check_by_block("file", &world.data)?;
    world.end()
}

fn next_daemon_may_have_no_mixed(ctx: &Context) -> Result<()> {
    let world = World::new(ctx)?;
    let World {
        data,
        image,
        client,
        mount,
        session,
        server,
    } = world;
    client.check_cold("file", &data)?;
    drop(session);
    let mut session = ctx.session(FSID, &image)?;
    session.check_files(&mount, &image)?;
    client.check("file", &data)?;
    server.put("other", &data)?;
    client.check("other", &data)?;
    let stored = client.cache_file("other")?;
    unmount(client)?;
    ensure!(!stored.exists(), "{} was stored", stored.display());
    session.unmount(mount)?;
    session.settle()
}

fn mixed_is_0_or_1_and_comes_before_bind(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    for bad in ["", " 2", " -1", " x", " 1x", " 01"] {
        let command = format!("mixed{bad}");
        expect_errno(device.command(&command), Errno::INVAL, &command)?;
    }
    device.set_mixed(true)?;
    device.set_mixed(false)?;
    device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))?;
    expect_errno(device.set_mixed(true), Errno::BUSY, "after bind")?;
    drop(device);
    // The last word counts: it is off.
    network_file_is_not_cached_on_demand_without_mixed(ctx)
}
