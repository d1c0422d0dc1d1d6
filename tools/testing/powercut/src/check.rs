// SPDX-License-Identifier: GPL-2.0
//! Cuts the power at many moments of a recording, inside a machine: for each the disk is made as it
//! may be then, mounted, compared with the source, read through the module, unmounted and checked.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_harness::session::{Blobs, Session};
use cachefiles_harness::{sys, task};
use cachefiles_protocol::Device;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::log::Log;
use crate::marks::Marks;
use crate::medium::{Cut, Disk, Medium};
use crate::report::{Findings, Kept, Report};
use crate::survivor::{Survivor, covered};
use crate::world::{FileSystem, Images, mount_point, options};

/// Where the disk of the moment lies: in memory.
const IMAGE: &str = "/tmp/powercut.img";

/// What to check.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The module's file
    #[arg(long, value_name = "FILE")]
    module_path: PathBuf,
    #[command(flatten)]
    recording: Recording,
    /// The file system
    #[arg(long, value_enum)]
    fs: FileSystem,
    /// Where on the disk the marks are
    #[arg(long, value_name = "BYTES")]
    marks_at: u64,
    /// How often the power is cut
    #[arg(long, default_value_t = 100)]
    cuts: u32,
    /// Decides when it is cut, and what is lost
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this one: entries and seed, as they stand in its line
    #[arg(long, value_name = "ENTRIES:SEED", value_parser = parse_cut)]
    only: Option<(usize, u64)>,
    /// After every so many cuts all images are read through the module
    #[arg(long, default_value_t = 10)]
    read_every: u32,
    #[command(flatten)]
    disk: Disk,
    /// What was complete for longer than this is to be there
    #[arg(long, default_value_t = 2000, value_name = "MS")]
    window_ms: u64,
    /// So much of that, at least
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    least_kept: f64,
    /// Wrong bytes must be found: the disk or the file system is not to be trusted
    #[arg(long)]
    expect_caught: bool,
}

/// A recording.
#[derive(Debug, clap::Args)]
pub struct Recording {
    /// The disk before the log
    #[arg(long, value_name = "FILE")]
    base: PathBuf,
    /// What was written to it
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
}

impl Recording {
    fn open(&self) -> Result<(File, Log)> {
        let open =
            |path: &Path| File::open(path).with_context(|| format!("opening {}", path.display()));
        Ok((open(&self.base)?, Log::read(open(&self.log)?)?))
    }
}

/// Makes one image, as a check does.
#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    #[command(flatten)]
    recording: Recording,
    /// How many entries of the log are complete
    #[arg(long)]
    entries: usize,
    /// What decides which of them are on the disk
    #[arg(long)]
    seed: u64,
    #[command(flatten)]
    disk: Disk,
    /// Where the image goes
    #[arg(value_name = "FILE")]
    image: PathBuf,
}

/// Makes the image of one cut.
pub fn make_image(args: &ImageArgs) -> Result<()> {
    let (base, log) = args.recording.open()?;
    let cut = Cut {
        entries: args.entries,
        seed: args.seed,
        disk: args.disk,
    };
    let scratch = args.image.with_extension("before");
    let mut medium = Medium::new(&log, &base, create(&scratch)?)?;
    let loss = medium.image(&cut, &create(&args.image)?);
    std::fs::remove_file(&scratch)?;
    let loss = loss?;
    println!("{} of {} sectors are lost", loss.lost, loss.open);
    Ok(())
}

fn create(path: &Path) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .with_context(|| format!("creating {}", path.display()))
}

fn parse_cut(text: &str) -> Result<(usize, u64)> {
    let (entries, seed) = text.split_once(':').context("no colon")?;
    Ok((entries.parse()?, seed.parse()?))
}

/// Checks. Whether all is as it is to be.
pub fn run(args: &CheckArgs) -> Result<bool> {
    let images = Images::make();
    let blobs = images.blobs();
    let (base, log) = args.recording.open()?;
    let marks = Marks::find(&log, args.marks_at)?;
    let recorded = marks.recorded()?;
    let flushes = &log.entries()[recorded.clone()];
    println!(
        "{} writes and {} flushes were recorded",
        recorded.len(),
        flushes.iter().filter(|entry| entry.is_flush).count()
    );
    let mut random = StdRng::seed_from_u64(args.seed);
    let mut moments: Vec<usize> = (0..args.cuts)
        .map(|_| random.random_range(recorded.clone()))
        .collect();
    moments.sort_unstable();
    let mut cuts: Vec<(usize, u64)> = moments
        .into_iter()
        .map(|entries| (entries, random.random()))
        .collect();
    if let Some(only) = args.only {
        cuts = vec![only];
    }
    sys::load_module(&args.module_path)?;
    let mut medium = Medium::new(&log, &base, create(Path::new("/tmp/powercut.before"))?)?;
    let image = create(Path::new(IMAGE))?;
    let mut report = Report::default();
    for (number, (entries, seed)) in cuts.into_iter().enumerate() {
        let cut = Cut {
            entries,
            seed,
            disk: args.disk,
        };
        let loss = medium.image(&cut, &image)?;
        let past = marks.before(entries);
        let mut findings = Findings::default();
        let is_read = args.only.is_some() || (number + 1) % args.read_every as usize == 0;
        if let Err(error) = look_at(args, &images, &blobs, is_read, &mut findings) {
            findings.unusable = Some(format!("{error:#}"));
        }
        findings.kept = Kept::of(&past, &findings.data, Duration::from_millis(args.window_ms));
        report.add(&cut, &loss, findings);
    }
    sys::remove_unused_module(task::soon())?;
    report.print();
    if args.expect_caught {
        // Nothing else counts: a machine that can't mount at all has failures, too.
        return Ok(report.has_wrong_bytes());
    }
    Ok(!report.has_failures() && report.share_kept() >= args.least_kept)
}

/// Looks at the disk of one moment. An error means that it is beyond repair.
fn look_at(
    args: &CheckArgs,
    images: &Images,
    blobs: &Blobs,
    is_read: bool,
    findings: &mut Findings,
) -> Result<()> {
    if args.fs == FileSystem::Nojournal {
        // 1: errors were corrected.
        run_program(&["e2fsck", "-fy", IMAGE], &[0, 1])?;
    }
    std::fs::create_dir_all(sys::CACHE)?;
    if let Err(error) = mount_image(args.fs) {
        // What is left to the administrator: its super block may be torn.
        ensure!(args.fs == FileSystem::Ext4, "{error:#}");
        run_program(&["e2fsck", "-fy", IMAGE], &[0, 1])?;
        findings.was_mended = true;
        mount_image(args.fs)?;
    }
    let looked = look_through(images, blobs, is_read, findings);
    let unmounted = sys::unmount_patiently(Path::new(sys::CACHE), task::soon());
    looked?;
    unmounted?;
    let check: &[&str] = match args.fs {
        FileSystem::Ext4 | FileSystem::Nojournal => &["e2fsck", "-fn", IMAGE],
        FileSystem::Xfs => &["xfs_repair", "-n", "-f", IMAGE],
    };
    run_program(check, &[0])
}

/// Mounts the disk of the moment. A loop device that it cannot be mounted from is given back.
fn mount_image(fs: FileSystem) -> Result<()> {
    let mounted = run_program(
        &["mount", "-t", fs.name(), "-o", "loop", IMAGE, sys::CACHE],
        &[0],
    );
    if mounted.is_err() {
        // Fails where `mount` has done that already.
        let _ = run_program(&["losetup", "-d", "/dev/loop0"], &[0]);
    }
    mounted
}

fn look_through(
    images: &Images,
    blobs: &Blobs,
    is_read: bool,
    findings: &mut Findings,
) -> Result<()> {
    let found = Survivor::find(Path::new(sys::CACHE), blobs)?;
    findings.add(found);
    if !is_read {
        return Ok(());
    }
    match read_through(images, blobs) {
        Ok(reads) => {
            let again = reads.iter().map(|(key, range)| {
                let data = findings.data.get(key);
                data.map_or(0, |data| covered(range, data))
            });
            findings.fetched_again = again.sum();
            findings.was_read = true;
        }
        Err(error) => findings.unread = Some(format!("{error:#}")),
    }
    Ok(())
}

/// Reads all files of all images through the module, and compares. Returns what was fetched.
fn read_through(images: &Images, blobs: &Blobs) -> Result<Vec<(String, std::ops::Range<u64>)>> {
    let device = Device::open().context("opening the device")?;
    device
        .bind_ondemand(sys::CACHE.as_ref(), Some("powercut"))
        .context("binding the cache")?;
    let mut session = Session::new(Arc::new(device), blobs.clone());
    let mut names = std::collections::BTreeMap::new();
    for (fsid, image) in images.iter() {
        let mount = session.mount(&mount_point(fsid), options(fsid, image))?;
        session.check_files(&mount, image)?;
        for (id, object) in &session.objects {
            names.insert(*id, String::from_utf8_lossy(&object.key).into_owned());
        }
        session.unmount(mount)?;
    }
    session.settle()?;
    let reads = session.log.reads.iter().map(|read| {
        let key = names.get(&read.object_id).cloned().unwrap_or_default();
        (key, read.off..read.off + read.len)
    });
    Ok(reads.collect())
}

/// Runs a program of the machine, which has to end with one of these statuses.
fn run_program(words: &[&str], good: &[i32]) -> Result<()> {
    let (name, arguments) = words.split_first().context("no program")?;
    let places = ["/usr/sbin", "/sbin", "/bin"].map(|place| Path::new(place).join(name));
    let Some(program) = places.iter().find(|path| path.exists()) else {
        bail!("the machine has no {name}");
    };
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("calling {name}"))?;
    let status = output.status.code().unwrap_or(-1);
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        good.contains(&status),
        "{} ended with status {status}: {}",
        words.join(" "),
        String::from_utf8_lossy(&said).trim()
    );
    Ok(())
}
