// SPDX-License-Identifier: GPL-2.0
//! Many readers on many objects, over and over: the kernel's memory is afterwards what it was.
//!
//! Eight hours of a node, of each hour what counts: every object comes, is read, and goes, in a
//! volume of its own, and the daemon crashes once under all readers.

use std::collections::BTreeMap;
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
.limit(300)];

const OBJECTS: u16 = 1000;
const READERS: usize = 256;
/// Rounds; the first makes what the kernel keeps for good.
const ROUNDS: usize = 8;
/// What may come and go by itself, in KiB. Between the rounds that are compared lie four, so 200
/// bytes of each object that are not given back are seen.
const SLACK: u64 = 800;
/// What a task takes at most of each kind, in KiB. Workers of the kernel that a busy machine calls
/// for stay for minutes.
const TASK: u64 = 32;
/// What of `/proc/meminfo` has to stay: all that no reclaim gives back.
const KINDS: [&str; 4] = ["SUnreclaim", "VmallocUsed", "KernelStack", "Percpu"];

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

/// The tasks that there are, those of the kernel among them.
fn tasks() -> Result<u64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let total = text
        .split_whitespace()
        .nth(3)
        .and_then(|word| word.split('/').nth(1));
    total
        .context("no number of tasks")?
        .parse()
        .context("a number")
}

/// The bytes in use of each slab cache. Root can read them, where the kernel tells.
fn slabs() -> BTreeMap<String, u64> {
    let text = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let used = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, active, _, size, ..] = words[..] else {
            return None;
        };
        let bytes = active.parse::<u64>().ok()? * size.parse::<u64>().ok()?;
        Some((name.to_owned(), bytes))
    };
    text.lines().skip(2).filter_map(used).collect()
}

/// The slab caches that grew most, to tell where to look.
fn grown(before: &BTreeMap<String, u64>) -> Vec<String> {
    let mut grown: Vec<(u64, String)> = slabs()
        .into_iter()
        .map(|(name, bytes)| {
            (
                bytes.saturating_sub(before.get(&name).copied().unwrap_or(0)),
                name,
            )
        })
        .collect();
    grown.sort();
    let most = grown.iter().rev().take(6);
    most.map(|(bytes, name)| format!("{name} +{bytes}"))
        .collect()
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
    let (mut figures, mut early) = (Vec::new(), BTreeMap::new());
    let mut workers = Vec::new();
    let is_slow = sys::has_sanitizer()?;
    for number in 0..if is_slow { 1 } else { ROUNDS } {
        round(ctx, &mut session, number, &image).with_context(|| format!("round {number}"))?;
        drop_caches()?;
        let figure: Result<Vec<u64>> = KINDS.iter().map(|name| memory(name)).collect();
        figures.push(figure?);
        workers.push(tasks()?);
        if number == 1 {
            early = slabs();
        }
    }
    println!("KiB of {KINDS:?} after each round: {figures:?}; tasks: {workers:?}");
    if is_slow {
        // There it is for kmemleak to say what was lost.
        return Ok(());
    }
    let fewest = |rounds: &[u64]| rounds.iter().min().copied().context("rounds");
    let more_tasks = fewest(&workers[ROUNDS - 3..])?.saturating_sub(fewest(&workers[1..4])?);
    for (kind, name) in KINDS.iter().enumerate() {
        // The least of several: what is on its way out for a moment does not count.
        let least = |rounds: &[Vec<u64>]| rounds.iter().map(|figure| figure[kind]).min();
        let (first, last) = (least(&figures[1..4]), least(&figures[ROUNDS - 3..]));
        let (first, last) = (first.context("rounds")?, last.context("rounds")?);
        ensure!(
            last <= first + SLACK + more_tasks * TASK,
            "{name} grows from {first} to {last} KiB with {more_tasks} tasks more: {KINDS:?} are \
             {figures:?}; in bytes: {:?}",
            grown(&early)
        );
    }
    Ok(())
}
