// SPDX-License-Identifier: GPL-2.0
//! The life of a mount: cold, warm, every layout, several at once, and with something missing.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;

use crate::context::{Context, expect_errno, expect_no_cache};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::{Session, blobs_of};

pub const TESTS: &[Test] = &[
    test!(
        mount_read_unmount_remount_warm_sends_no_read,
        "what was fetched once is never fetched again"
    ),
    test!(flat_and_inline_files_read_back_equal, "the plain layouts"),
    test!(
        chunked_files_with_holes_read_back_equal,
        "the chunked layout"
    ),
    test!(
        devices_named_by_tags_read_back_equal,
        "images over several blobs"
    ),
    test!(
        devices_named_by_mount_options_read_back_equal,
        "blobs may have other names than their tags"
    ),
    test!(
        large_file_is_read_in_ranges_that_cover_it_once,
        "no byte is fetched twice"
    ),
    test!(
        partly_cached_file_is_completed,
        "FAULTS 18: a range with holes is filled, and read once"
    )
    .limit(60),
    test!(
        domain_shares_a_blob_between_mounts,
        "one copy of a blob serves many images"
    ),
    test!(several_mounts_are_served_at_once, "one daemon, many images"),
    test!(
        same_file_system_id_twice_is_refused_with_ebusy,
        "two mounts never share a volume unawares"
    ),
    test!(
        stale_cache_file_is_replaced,
        "a file whose attribute is wrong is not trusted"
    ),
    test!(
        stale_volume_that_cannot_be_put_away_fails_the_mount,
        "WALK 3: a worker does not try for ever to bury what stays where it is"
    )
    .c_skips("a worker of the kernel loops for ever"),
];

fn mount_read_unmount_remount_warm_sends_no_read(ctx: &Context) -> Result<()> {
    let image = Builder::new()
        .device("data")
        .plain("plain", pattern(1, 3 * BLOCK + 7))
        .chunked("chunked", pattern(2, 40 * BLOCK), 4, &[Some(1)])
        .build();
    let mut session = ctx.session("warm", &image)?;
    let point = ctx.mount_point("warm");
    let mount = session.mount(&point, "fsid=warm")?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()?;
    ensure!(!session.log.reads.is_empty(), "the cold round sent no READ");
    ensure!(
        session.log.closes.len() == 2,
        "CLOSEs after unmount: {:?}",
        session.log.closes
    );

    session.log = Default::default();
    let mount = session.mount(&point, "fsid=warm")?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()?;
    ensure!(
        session.log.opens.len() == 2,
        "OPENs of the warm round: {:?}",
        session.log.opens
    );
    ensure!(
        session.log.reads.is_empty(),
        "the warm round sent {:?}",
        session.log.reads
    );

    // And under a new daemon, after the cache was taken down and up again.
    let blobs = session.blobs.clone();
    drop(session);
    let mut session = Session::new(ctx.bound_device()?, blobs);
    let mount = session.mount(&point, "fsid=warm")?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()?;
    ensure!(
        session.log.reads.is_empty(),
        "after a bind: {:?}",
        session.log.reads
    );
    Ok(())
}

/// Mounts an image once, compares its files, unmounts.
fn round_trip(ctx: &Context, fsid: &str, image: &Image, options: &str) -> Result<Session> {
    let mut session = ctx.session(fsid, image)?;
    let mount = session.mount(&ctx.mount_point(fsid), format!("fsid={fsid}{options}"))?;
    session.check_files(&mount, image)?;
    let names: Vec<String> = fs::read_dir(mount.path())?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    ensure!(
        names.len() == image.files.len(),
        "the root directory lists {names:?}"
    );
    session.unmount(mount)?;
    session.settle()?;
    Ok(session)
}

fn flat_and_inline_files_read_back_equal(ctx: &Context) -> Result<()> {
    let mut builder = Builder::new().plain("empty", Vec::new());
    // A tail has to fit the block of its inode.
    for (seed, size) in [(1, 1), (2, 4000), (3, BLOCK + 1), (4, 9 * BLOCK + 1000)] {
        builder = builder
            .plain(&format!("plain-{size}"), pattern(seed, size))
            .inline(&format!("inline-{size}"), pattern(seed + 100, size));
    }
    let image = builder.plain("blocks", pattern(9, 8 * BLOCK)).build();
    round_trip(ctx, "flat", &image, "").map(drop)
}

fn chunked_files_with_holes_read_back_equal(ctx: &Context) -> Result<()> {
    // The hole is at the end: EROFS of 6.12 fills all that is left of a request with zeros when it
    // meets a hole, so that data behind one comes out wrong, whatever the cache does.
    let mut data = pattern(1, 8 * BLOCK - 9);
    data[4 * BLOCK..].fill(0);
    let image = Builder::new()
        .chunked("sparse", data, 4, &[Some(0), None])
        .chunked("dense", pattern(2, 33 * BLOCK + 1), 8, &[Some(0)])
        .chunked("hole", vec![0; 3 * BLOCK], 1, &[None])
        .build();
    round_trip(ctx, "chunks", &image, "").map(drop)
}

/// An image with its files spread over devices of these keys.
pub fn over_devices(keys: &[&str]) -> Image {
    let mut builder = Builder::new();
    for key in keys {
        builder = builder.device(key);
    }
    let places: Vec<_> = (0..=keys.len()).map(|number| Some(number as u16)).collect();
    builder
        .chunked("striped", pattern(1, 31 * BLOCK + 11), 2, &places)
        .chunked("last", pattern(2, 5 * BLOCK), 1, &[Some(keys.len() as u16)])
        .plain("primary", pattern(3, 2 * BLOCK))
        .build()
}

fn devices_named_by_tags_read_back_equal(ctx: &Context) -> Result<()> {
    let keys = ["blob-a", "blob-b", "blob-c"];
    let session = round_trip(ctx, "tags", &over_devices(&keys), "")?;
    let mut opened: Vec<_> = session
        .log
        .opens
        .iter()
        .map(|(.., key)| key.as_slice())
        .collect();
    opened.sort();
    ensure!(
        opened == [&b"blob-a"[..], b"blob-b", b"blob-c", b"tags"],
        "OPENs for {opened:?}"
    );
    ensure!(
        session.log.closes.len() == 4,
        "CLOSEs: {:?}",
        session.log.closes
    );
    Ok(())
}

fn devices_named_by_mount_options_read_back_equal(ctx: &Context) -> Result<()> {
    let mut image = over_devices(&["tag-a", "tag-b"]);
    for ((key, _), name) in image.blobs.iter_mut().zip(["other-a", "other-b"]) {
        *key = name.into();
    }
    round_trip(ctx, "options", &image, ",device=other-a,device=other-b").map(drop)
}

fn large_file_is_read_in_ranges_that_cover_it_once(ctx: &Context) -> Result<()> {
    let image = Builder::new()
        .device("big")
        .chunked("big", pattern(1, 2 << 20), 256, &[Some(1)])
        .build();
    let session = round_trip(ctx, "large", &image, "")?;
    let big = session
        .log
        .opens
        .iter()
        .find(|(.., key)| key == b"big")
        .context("no OPEN")?
        .1;
    let mut ranges: Vec<_> = session
        .log
        .reads
        .iter()
        .filter(|read| read.object_id == big)
        .map(|read| (read.off, read.len))
        .collect();
    ranges.sort();
    let mut end = 0;
    for (off, len) in ranges {
        ensure!(off == end, "after {end} comes a READ of {off}+{len}");
        ensure!(len > 0 && len % BLOCK as u64 == 0, "a READ of {len} bytes");
        end = off + len;
    }
    ensure!(end == 2 << 20, "READs up to {end} of 2 MiB");
    Ok(())
}

/// Puts every `step`th block of a blob into the cache, before anybody asks for it.
pub fn fill_every(session: &mut Session, key: &[u8], step: usize) -> Result<()> {
    let (object, _) = session.object_of(key)?;
    let length = session.blobs.get(key).context("no blob")?.len();
    for block in (0..length / BLOCK).step_by(step) {
        session.fill(object, (block * BLOCK) as u64, BLOCK as u64)?;
    }
    Ok(())
}

fn partly_cached_file_is_completed(ctx: &Context) -> Result<()> {
    for step in [2, 3, 7] {
        let image = Builder::new()
            .device("blob")
            .chunked("file", pattern(1, 64 * BLOCK), 16, &[Some(1)])
            .build();
        let fsid = format!("partly-{step}");
        let mut session = ctx.session(&fsid, &image)?;
        let mount = session.mount(&ctx.mount_point(&fsid), format!("fsid={fsid}"))?;
        fill_every(&mut session, b"blob", step)?;
        session
            .check_files(&mount, &image)
            .with_context(|| format!("every {step}. block"))?;
        session.unmount(mount)?;
        session.settle()?;
    }
    Ok(())
}

fn domain_shares_a_blob_between_mounts(ctx: &Context) -> Result<()> {
    let shared = pattern(1, 16 * BLOCK);
    let make = |seed| {
        Builder::new()
            .device("shared")
            .chunked("common", shared.clone(), 4, &[Some(1)])
            .plain("own", pattern(seed, BLOCK))
            .build()
    };
    let images = [("first", make(10)), ("second", make(20))];
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    for (fsid, image) in &images {
        session.blobs.extend(blobs_of(fsid, image));
    }
    let mut mounts = Vec::new();
    for (fsid, image) in &images {
        let options = format!("domain_id=domain,fsid={fsid}");
        let mount = session.mount(&ctx.mount_point(fsid), options)?;
        session.check_files(&mount, image)?;
        mounts.push(mount);
    }
    let opened = |session: &Session, wanted: &[u8]| {
        session
            .log
            .opens
            .iter()
            .filter(|(.., key)| key == wanted)
            .map(|open| open.1)
            .collect::<Vec<_>>()
    };
    let shared = opened(&session, b"shared");
    ensure!(
        shared.len() == 1,
        "the shared blob was opened as {shared:?}"
    );
    ensure!(opened(&session, b"first").len() == 1 && opened(&session, b"second").len() == 1);
    let fetched: u64 = session
        .log
        .reads
        .iter()
        .filter(|read| read.object_id == shared[0])
        .map(|read| read.len)
        .sum();
    ensure!(
        fetched == 16 * BLOCK as u64,
        "{fetched} bytes of the shared blob were fetched"
    );

    session.unmount(mounts.remove(0))?;
    session.pump_for(std::time::Duration::from_millis(300))?;
    ensure!(
        !session.log.closes.contains(&shared[0]),
        "closed while a mount uses it"
    );
    session.check_files(&mounts[0], &images[1].1)?;
    session.unmount(mounts.remove(0))?;
    session.settle()?;
    ensure!(
        session.log.closes.contains(&shared[0]),
        "not closed by the last unmount"
    );
    Ok(())
}

fn several_mounts_are_served_at_once(ctx: &Context) -> Result<()> {
    let names = ["one", "two", "three", "four"];
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    let mut mounts = Vec::new();
    for (seed, fsid) in (0..).zip(names) {
        let image = Builder::new()
            .plain("file", pattern(seed, 20 * BLOCK))
            .inline("tail", pattern(seed + 50, 77))
            .build();
        session.blobs.extend(blobs_of(fsid, &image));
        mounts.push((
            session.mount(&ctx.mount_point(fsid), format!("fsid={fsid}"))?,
            image,
        ));
    }
    let running = session.run();
    // All at once, from a thread each.
    let readers: Vec<_> = mounts
        .iter()
        .map(|(mount, image)| {
            let tasks = image.files.iter().map(|(name, data)| {
                (
                    crate::task::read_in_background(&mount.file(name)),
                    data.clone(),
                )
            });
            tasks.collect::<Vec<_>>()
        })
        .collect();
    for (task, data) in readers.into_iter().flatten() {
        ensure!(task.finish()?? == data, "wrong content");
    }
    let mut session = running.stop()?;
    for (mount, _) in mounts {
        session.unmount(mount)?;
    }
    session.settle()
}

fn same_file_system_id_twice_is_refused_with_ebusy(ctx: &Context) -> Result<()> {
    let image = Builder::new().plain("file", pattern(1, BLOCK)).build();
    let mut session = ctx.session("twice", &image)?;
    let first = session.mount(&ctx.mount_point("a"), "fsid=twice")?;
    let second = session.try_mount(&ctx.mount_point("b"), b"fsid=twice")?;
    expect_errno(second.map(drop), Errno::BUSY, "a second mount")?;
    session.check_files(&first, &image)?;
    session.unmount(first)
}

fn stale_cache_file_is_replaced(ctx: &Context) -> Result<()> {
    let image = Builder::new().plain("file", pattern(1, BLOCK)).build();
    let session = round_trip(ctx, "stale", &image, "")?;
    let path = std::path::Path::new(crate::sys::CACHE)
        .join(cachefiles_protocol::key_path(b"erofs,stale", b"stale"));
    let attribute = "user.CacheFiles.cache";
    let flags = rustix::fs::XattrFlags::REPLACE;
    rustix::fs::setxattr(&path, attribute, b"short", flags).context("spoiling the attribute")?;
    drop(session);
    let session = round_trip(ctx, "stale", &image, "")?;
    ensure!(!session.log.reads.is_empty(), "a stale file was trusted");
    let length = rustix::fs::getxattr(&path, attribute, &mut [0u8; 64]).context("the new file")?;
    ensure!(length == 18, "the new attribute has {length} bytes");
    Ok(())
}

fn stale_volume_that_cannot_be_put_away_fails_the_mount(ctx: &Context) -> Result<()> {
    use rustix::fs::{IFlags, XattrFlags, ioctl_getflags, ioctl_setflags};

    let image = Builder::new().plain("file", pattern(1, BLOCK)).build();
    drop(round_trip(ctx, "stuck", &image, "")?);
    let volume = std::path::Path::new(crate::sys::CACHE).join("cache/Ierofs,stuck");
    rustix::fs::setxattr(
        &volume,
        "user.CacheFiles.cache",
        b"odd",
        XattrFlags::REPLACE,
    )
    .context("spoiling the attribute")?;
    // Neither moved nor removed.
    let dir = fs::File::open(&volume)?;
    let flags = ioctl_getflags(&dir).context("reading the flags")?;
    ioctl_setflags(&dir, flags | IFlags::IMMUTABLE).context("making it immutable")?;
    let mut session = ctx.session("stuck", &image)?;
    let point = ctx.mount_point("stuck");
    let stuck = session.try_mount(&point, b"fsid=stuck");
    ioctl_setflags(&dir, flags).context("making it mutable")?;
    expect_no_cache(stuck?.map(drop), "a mount on a stale volume that stays")?;
    session.settle()?;
    let mount = session.mount(&point, "fsid=stuck")?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)
}
