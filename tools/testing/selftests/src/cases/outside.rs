// SPDX-License-Identifier: GPL-2.0
//! What somebody does to the files of a cache in use past the module, with the right of root.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::key_path;
use rustix::fs::{FallocateFlags, fallocate};

use crate::bad_disk::{BadDisk, Speed};
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::{Mount, Session};
use crate::share::drop_caches;
use crate::sys;

pub const TESTS: &[Test] = &[
    test!(
        hole_punched_into_a_file_in_use_is_fetched_again,
        "FAULTS 11: zeros of a hole are not taken for the data that was there"
    ),
    test!(
        hole_punched_before_as_much_is_written_elsewhere_is_fetched_again,
        "FAULTS 11: a daemon that makes room for what it fetches next loses nothing"
    ),
    test!(
        file_in_use_that_is_cut_off_is_fetched_again,
        "FAULTS 11: what lay behind a file's new end is not taken for data"
    ),
    test!(
        file_cut_off_without_its_blocks_telling_is_fetched_again,
        "what a read that ends too early refutes is forgotten, and not an error for ever"
    ),
    test!(
        block_of_a_page_that_is_lost_is_fetched_with_its_page,
        "D20: a daemon is asked for what it can write, whole pages, also where blocks are smaller"
    )
    .c_fails("it asks for the block, which the daemon may not write"),
    test!(
        allocated_blocks_that_somebody_reads_before_they_are_written_are_fetched,
        "D5: a backup that reads a cache file makes no data of what was never written"
    )
    .c_fails("zeros in the page cache of the cache file count as data"),
];

const FSID: &str = "outside";
const BLOCKS: usize = 32;

fn image() -> Image {
    Builder::new()
        .device("blob")
        .chunked("file", pattern(1, BLOCKS * BLOCK), BLOCKS, &[Some(1)])
        .build()
}

/// A mounted image that was read as a whole, and its data blob's file in the cache.
fn complete(ctx: &Context) -> Result<(Session, Mount, File)> {
    let mut session = ctx.session(FSID, &image())?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.check_files(&mount, &image())?;
    // In the C module the file has a name only after that.
    session.unmount(mount)?;
    session.settle()?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    for _ in 0..2 {
        session.check_files(&mount, &image())?;
        drop_caches()?;
    }
    Ok((session, mount, cache_file()?))
}

/// The data blob's file in the cache.
fn cache_file() -> Result<File> {
    let path = key_path(format!("erofs,{FSID}").as_bytes(), b"blob");
    let path = Path::new(sys::CACHE).join(path);
    let file = File::options().read(true).write(true).open(&path);
    file.with_context(|| format!("opening {}", path.display()))
}

/// Blocks of the file that are there and were never written, as after a power cut or during a
/// write, which somebody reads.
fn allocated_blocks_that_somebody_reads_before_they_are_written_are_fetched(
    ctx: &Context,
) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    // In the C module the file has a name only after that.
    session.unmount(mount)?;
    session.settle()?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let file = cache_file()?;
    let len = (BLOCKS * BLOCK) as u64;
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, len).context("allocating blocks")?;
    let mut zeros = vec![1; BLOCKS * BLOCK];
    file.read_exact_at(&mut zeros, 0)?;
    ensure!(zeros.iter().all(|&byte| byte == 0), "not zeros");
    // The zeros are in the page cache now.
    finish_at_once(session, mount, 0)
}

fn punch(file: &File, block: usize, count: usize) -> Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let (from, len) = (block * BLOCK, count * BLOCK);
    fallocate(file, flags, from as u64, len as u64).context("punching a hole")
}

/// The file reads as ever, and the daemon was asked for what is missing, from byte `from` on.
fn finish(session: Session, mount: Mount, from: usize) -> Result<()> {
    drop_caches()?;
    finish_at_once(session, mount, from)
}

/// The same of what is not in the page cache yet.
fn finish_at_once(mut session: Session, mount: Mount, from: usize) -> Result<()> {
    let id = session.object_of(b"blob")?.0;
    session.log = Default::default();
    session.check_files(&mount, &image())?;
    let reads = &session.log.reads;
    ensure!(
        reads
            .iter()
            .any(|read| read.object_id == id && read.off >= from as u64),
        "READs: {reads:?}"
    );
    session.unmount(mount)?;
    session.settle()
}

fn hole_punched_into_a_file_in_use_is_fetched_again(ctx: &Context) -> Result<()> {
    let (session, mount, file) = complete(ctx)?;
    punch(&file, 5, 3)?;
    finish(session, mount, 5 * BLOCK)
}

fn hole_punched_before_as_much_is_written_elsewhere_is_fetched_again(ctx: &Context) -> Result<()> {
    let (mut session, mount, file) = complete(ctx)?;
    let id = session.object_of(b"blob")?.0;
    let block = BLOCK as u64;
    punch(&file, 20, 4)?;
    session.check_files(&mount, &image())?;
    drop_caches()?;
    // The file has the same number of blocks before and after this.
    punch(&file, 5, 4)?;
    session
        .blobs
        .insert(b"blob".to_vec(), vec![7; (BLOCKS + 4) * BLOCK].into());
    session.fill(id, BLOCKS as u64 * block, 4 * block)?;
    session.blobs = crate::session::blobs_of(FSID, &image());
    finish(session, mount, 5 * BLOCK)
}

fn file_in_use_that_is_cut_off_is_fetched_again(ctx: &Context) -> Result<()> {
    let (session, mount, file) = complete(ctx)?;
    file.set_len(3 * BLOCK as u64)?;
    finish(session, mount, 3 * BLOCK)
}

fn file_cut_off_without_its_blocks_telling_is_fetched_again(ctx: &Context) -> Result<()> {
    let (mut session, mount, file) = complete(ctx)?;
    let kept = 3 * BLOCK as u64;
    file.set_len(kept)?;
    // More than it lost, as some go to the file system's own map of it.
    let more = 2 * (BLOCKS * BLOCK) as u64;
    fallocate(&file, FallocateFlags::KEEP_SIZE, kept, more).context("giving it blocks")?;
    drop_caches()?;
    session.log = Default::default();
    // Who finds out may fail, and may have asked again by itself.
    if let Err(error) = session.check_files(&mount, &image()) {
        println!("{error:#}");
        drop_caches()?;
        session.check_files(&mount, &image())?;
    }
    let reads = &session.log.reads;
    ensure!(
        reads.iter().any(|read| read.off >= kept),
        "READs: {reads:?}"
    );
    session.unmount(mount)?;
    session.settle()
}

fn block_of_a_page_that_is_lost_is_fetched_with_its_page(ctx: &Context) -> Result<()> {
    let disk = BadDisk::new(64, Speed::Fast)?;
    disk.mount_as_cache_of(1024)?;
    let (mut session, mount, file) = complete(ctx)?;
    let id = session.object_of(b"blob")?.0;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let page = 5 * BLOCK as u64;
    // From the page's start, in the middle, and up to its end.
    for (from, len) in [(0, 1024), (1024, 2048), (3072, 1024)] {
        fallocate(&file, flags, page + from, len).context("punching a hole")?;
        drop_caches()?;
        session.log = Default::default();
        session
            .check_files(&mount, &image())
            .with_context(|| format!("without {len} bytes from {from} on"))?;
        let reads: Vec<_> = session
            .log
            .reads
            .iter()
            .filter(|read| read.object_id == id)
            .map(|read| (read.off, read.len))
            .collect();
        ensure!(reads == [(page, BLOCK as u64)], "READs: {reads:?}");
    }
    session.unmount(mount)?;
    session.settle()
}
