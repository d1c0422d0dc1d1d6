// SPDX-License-Identifier: GPL-2.0
//! Many readers on many objects, over and over: the kernel's memory is afterwards what it was.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::{Session, blobs_of};
use crate::share::drop_caches;
use crate::sys;
use crate::task::Task;

pub const TESTS: &[Test] = &[test!(
    load_of_256_readers_on_1000_objects_leaves_memory_flat,
    "what a request, an object or a volume takes is given back"
)
.limit(240)];

const OBJECTS: u16 = 1000;
const READERS: usize = 256;
/// Rounds; the first makes what the kernel keeps for good.
const ROUNDS: usize = 4;
/// What may come and go by itself, in KiB: one object of the cache that is never given back costs
/// over four times as much in each round.
const SLACK: u64 = 1024;

/// An image over many blobs with a file of one block on each.
fn image() -> Image {
    let mut builder = Builder::new();
    for number in 1..=OBJECTS {
        builder = builder.device(format!("blob-{number}"));
    }
    for number in 1..=OBJECTS {
        let data = pattern(number.into(), BLOCK);
        builder = builder.chunked(&format!("{number}"), data, 1, &[Some(number)]);
    }
    builder.build()
}

/// One figure of `/proc/meminfo`, in KiB.
fn memory(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    value
        .with_context(|| format!("no {name}"))?
        .parse()
        .context("a number")
}

/// Mounts, has everybody read their share, with one crash of the daemon on the way, and unmounts.
fn round(ctx: &Context, session: &mut Session, number: usize, image: &Image) -> Result<()> {
    let fsid = format!("load-{number}");
    session.blobs = blobs_of(&fsid, image);
    session.log = Default::default();
    let mount = session.mount(&ctx.mount_point("load"), format!("fsid={fsid}"))?;
    let readers: Vec<Task<Result<()>>> = (0..READERS)
        .map(|reader| {
            let mut share = Vec::new();
            for (name, data) in image.files.iter().skip(reader).step_by(READERS) {
                share.push((mount.file(name), data.clone()));
            }
            Task::start(format!("reader {reader}"), move || {
                for (path, data) in share {
                    ensure!(fs::read(&path)? == data, "{} differs", path.display());
                }
                Ok(())
            })
        })
        .collect();
    session.pump_until("half of the READs", |session| {
        let failed = readers.iter().all(Task::is_done);
        failed || session.log.reads.len() >= usize::from(OBJECTS) / 2
    })?;
    session.crash();
    session.device.restore()?;
    for reader in readers {
        session.pump_until("a reader to finish", |_| reader.is_done())?;
        reader.finish()??;
    }
    session.unmount(mount)?;
    session.settle()
}

fn load_of_256_readers_on_1000_objects_leaves_memory_flat(ctx: &Context) -> Result<()> {
    // An fd for each object, and for each reader.
    let limit = Rlimit {
        current: Some(4096),
        maximum: Some(4096),
    };
    setrlimit(Resource::Nofile, limit)?;
    let image = image();
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    let mut figures = Vec::new();
    for number in 0..ROUNDS {
        round(ctx, &mut session, number, &image).with_context(|| format!("round {number}"))?;
        drop_caches()?;
        figures.push((memory("SUnreclaim")?, memory("VmallocUsed")?));
    }
    println!("KiB of slab and vmalloc after each round: {figures:?}");
    if sys::keeps_freed_memory()? {
        // There it is for kmemleak to say what was lost.
        return Ok(());
    }
    let ((slab, vmalloc), last) = (figures[1], figures[ROUNDS - 1]);
    ensure!(
        last.0 <= slab + SLACK && last.1 <= vmalloc + SLACK,
        "memory grows, in KiB of slab and vmalloc: {figures:?}"
    );
    Ok(())
}
