// SPDX-License-Identifier: GPL-2.0
//! Reading what is in the cache, 4 KiB at a time, with nothing in the page cache: a complete file,
//! and one of which every other page is there. Below it: the same bytes as an EROFS on a loop
//! device, and as a plain file of the store.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::image::{BLOCK, Builder, pattern};
use cachefiles_harness::{sys, task::soon};
use rustix::fs::{Advice, fadvise};
use rustix::mount::{MountFlags, mount};

use super::Bench;
use crate::daemon::Daemon;
use crate::image;

/// Pages of each file.
const PAGES: u64 = 1024;

/// Pages in an order that no readahead sees through: all of them, or the even ones.
fn scattered(step: u64) -> impl Iterator<Item = u64> {
    let count = PAGES / step;
    // An odd factor and a power of two: every page once.
    (0..count).map(move |number| number * 365 % count * step)
}

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut daemon = Daemon::new()?;
    daemon.pages = PAGES;
    let mount = daemon.mount("warm", image::large("warm", 2, PAGES)?, "")?;
    let size = PAGES * BLOCK as u64;
    daemon.prefill(image::device("warm", 0).as_bytes(), 0, size)?;
    for page in (0..PAGES).step_by(2) {
        daemon.prefill(
            image::device("warm", 1).as_bytes(),
            page * BLOCK as u64,
            BLOCK as u64,
        )?;
    }
    let open = |daemon: &mut Daemon, number| {
        let path = mount.file(number);
        daemon
            .serve_during(move || File::open(path))?
            .context("opening a file")
    };
    let (complete, fragmented) = (
        Arc::new(open(&mut daemon, 0)?),
        Arc::new(open(&mut daemon, 1)?),
    );
    both_orders(
        bench,
        &complete,
        ["sequential, complete", "random, complete"],
    )?;
    // Without readahead, which would ask for what is missing.
    measure(
        bench,
        &fragmented,
        "sequential, fragmented",
        Advice::Random,
        (0..PAGES).step_by(2).collect(),
    )?;
    measure(
        bench,
        &fragmented,
        "random, fragmented",
        Advice::Random,
        scattered(2).collect(),
    )?;
    ensure!(!daemon.poll()?, "a warm read asked for something");
    drop((complete, fragmented));
    daemon.unmount(mount)?;
    drop(daemon);
    floors(bench)
}

/// All pages, with readahead in their order, and without.
fn both_orders(bench: &mut Bench, file: &File, [in_order, at_random]: [&str; 2]) -> Result<()> {
    measure(bench, file, in_order, Advice::Normal, (0..PAGES).collect())?;
    measure(
        bench,
        file,
        at_random,
        Advice::Random,
        scattered(1).collect(),
    )
}

/// What a page costs, after one turn to find the code and the inode warm.
fn measure(
    bench: &mut Bench,
    file: &File,
    metric: &str,
    advice: Advice,
    pages: Vec<u64>,
) -> Result<()> {
    fadvise(file, 0, None, advice)?;
    let mut buffer = [0; BLOCK];
    for counts in [false, true] {
        fadvise(file, 0, None, Advice::DontNeed)?;
        bench.meter.quiesce();
        let start = bench.begin();
        for page in &pages {
            file.read_exact_at(&mut buffer, page * BLOCK as u64)?;
        }
        if counts {
            bench.end(start, "warm", metric, None, pages.len());
        }
    }
    Ok(())
}

fn floors(bench: &mut Bench) -> Result<()> {
    let data = pattern(1, PAGES as usize * BLOCK);
    let plain = Path::new(sys::CACHE).join("plain");
    fs::write(&plain, &data)?;
    let file = File::open(&plain)?;
    rustix::fs::fsync(&file)?;
    let floors = ["floor: sequential, plain file", "floor: random, plain file"];
    both_orders(bench, &file, floors)?;
    drop(file);

    let image = Path::new(sys::CACHE).join("image");
    fs::write(&image, Builder::new().plain("file", data).build().primary)?;
    rustix::fs::fsync(File::open(&image)?)?;
    let status = Command::new("losetup")
        .arg("/dev/loop1")
        .arg(&image)
        .status()?;
    ensure!(status.success(), "losetup failed");
    let point = Path::new("/mnt/loop");
    fs::create_dir_all(point)?;
    mount("/dev/loop1", point, c"erofs", MountFlags::RDONLY, None)
        .context("mounting the loop device")?;
    let file = File::open(point.join("file"))?;
    let floors = [
        "floor: sequential, EROFS on a loop device",
        "floor: random, EROFS on a loop device",
    ];
    both_orders(bench, &file, floors)?;
    drop(file);
    sys::unmount_patiently(point, soon())?;
    let status = Command::new("losetup")
        .args(["-d", "/dev/loop1"])
        .status()?;
    ensure!(status.success(), "losetup -d failed");
    fs::remove_file(image)?;
    Ok(fs::remove_file(plain)?)
}
