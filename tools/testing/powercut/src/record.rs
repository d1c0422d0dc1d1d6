// SPDX-License-Identifier: GPL-2.0
//! Fills a cache, inside a machine whose disk is logged: images are mounted, and read piece by
//! piece while a daemon serves them. What it has answered stands in the log as well.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::session::Session;
use cachefiles_harness::sys;
use cachefiles_protocol::Device;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rustix::fs::Advice;
use rustix::mount::{MountFlags, mount_remount};

use crate::marks::{Event, Marker};
use crate::world::{FileSystem, Images, mount_cache, mount_point, options};

/// How often a mark is made when nothing happens.
const BEAT: Duration = Duration::from_millis(20);

/// What to record.
#[derive(Debug, clap::Args)]
pub struct RecordArgs {
    /// The module's file
    #[arg(long, value_name = "FILE")]
    module_path: PathBuf,
    /// The disk that is logged, with the file system of the cache
    #[arg(long, value_name = "DEVICE")]
    cache_dev: PathBuf,
    /// The file system
    #[arg(long, value_enum)]
    fs: FileSystem,
    /// What it is mounted with
    #[arg(
        long,
        default_value = "",
        value_name = "OPTIONS",
        allow_hyphen_values = true
    )]
    mount_options: String,
    /// With what it is mounted anew once the cache is bound and the images are mounted
    #[arg(long, value_name = "OPTIONS")]
    remount: Option<String>,
    /// Where on the disk the marks are written: behind the file system
    #[arg(long, value_name = "BYTES")]
    marks_at: u64,
    /// How long reading all of it takes
    #[arg(long, default_value_t = 45)]
    seconds: u64,
    /// What decides in which order it is read
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A piece of a file that is to be read at once.
struct Piece {
    file: Arc<(PathBuf, File)>,
    offset: usize,
    expected: Vec<u8>,
}

/// Records.
pub fn run(args: &RecordArgs) -> Result<()> {
    let images = Images::make();
    sys::load_module(&args.module_path)?;
    if args.fs == FileSystem::Xfs {
        hurry_xfs()?;
    }
    mount_cache(&args.cache_dev, args.fs, &args.mount_options)?;
    let marker = Marker::open(&args.cache_dev, args.marks_at)?;
    let device = Device::open().context("opening the device")?;
    device
        .bind_ondemand(sys::CACHE.as_ref(), Some("powercut"))
        .context("binding the cache")?;
    let mut session = Session::new(Arc::new(device), images.blobs());
    let mut mounts = Vec::new();
    for (fsid, image) in images.iter() {
        mounts.push(session.mount(&mount_point(fsid), options(fsid, image))?);
    }
    if let Some(options) = &args.remount {
        let options = CString::new(options.as_str())?;
        mount_remount(sys::CACHE, MountFlags::empty(), options.as_c_str())
            .context("mounting the cache anew")?;
    }
    marker.write(Event::Start)?;
    let is_over = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        scope.spawn(|| or_exit(serve(&mut session, &marker, &is_over)));
        scope.spawn(|| or_exit(beat(&marker, &is_over)));
        let count = read_all(args, &images);
        is_over.store(true, Ordering::Relaxed);
        count
    })?;
    marker.write(Event::End)?;
    marker.flush()?;
    println!(
        "recorded {count} pieces, {} READs of {} KiB",
        session.log.reads.len(),
        session.log.reads.iter().map(|read| read.len).sum::<u64>() >> 10
    );
    drop(mounts);
    Ok(())
}

/// Has XFS write its log each second, which is the least that it takes, and not each 30.
fn hurry_xfs() -> Result<()> {
    let loaded = Command::new("/sbin/modprobe").arg("xfs").status();
    ensure!(loaded.is_ok_and(|status| status.success()), "no XFS here");
    fs::write("/proc/sys/fs/xfs/xfssyncd_centisecs", "100").context("having XFS hurry")
}

/// Reads every file, in pieces, at an even pace.
fn read_all(args: &RecordArgs, images: &Images) -> Result<usize> {
    let mut random = StdRng::seed_from_u64(args.seed);
    let mut pieces = Vec::new();
    for (fsid, image) in images.iter() {
        for (name, data) in &image.files {
            let path = mount_point(fsid).join(name);
            let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
            if random.random() {
                // Then the kernel reads no more than it is asked for.
                rustix::fs::fadvise(&file, 0, None, Advice::Random)?;
            }
            let file = Arc::new((path, file));
            let mut offset = 0;
            while offset < data.len() {
                let most = [4 << 10, 16 << 10, 64 << 10, 256 << 10][random.random_range(0..4)];
                let length = (data.len() - offset).min(most);
                pieces.push(Piece {
                    file: Arc::clone(&file),
                    offset,
                    expected: data[offset..offset + length].to_vec(),
                });
                offset += length;
            }
        }
    }
    pieces.shuffle(&mut random);
    let (start, count) = (Instant::now(), pieces.len());
    let pause = Duration::from_secs(args.seconds) / u32::try_from(count)?;
    let mut due = start;
    for piece in pieces {
        let mut seen = vec![0; piece.expected.len()];
        let (path, file) = &*piece.file;
        file.read_exact_at(&mut seen, piece.offset as u64)
            .with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            seen == piece.expected,
            "{} is not what it is to be at {}",
            path.display(),
            piece.offset
        );
        due += pause;
        sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(count)
}

/// Serves until told to stop, and makes a mark of each READ that was answered.
fn serve(session: &mut Session, marker: &Marker, is_over: &AtomicBool) -> Result<()> {
    let mut marked = session.log.reads.len();
    while !is_over.load(Ordering::Relaxed) {
        if session
            .device
            .wait_readable(Some(Duration::from_millis(10)))?
        {
            session.step()?;
        }
        for read in &session.log.reads[marked..] {
            let key = &session.object(read.object_id)?.key;
            marker.write(Event::Read {
                key: String::from_utf8(key.clone())?,
                range: read.off..read.off + read.len,
            })?;
        }
        marked = session.log.reads.len();
    }
    Ok(())
}

/// Makes marks of the time.
fn beat(marker: &Marker, is_over: &AtomicBool) -> Result<()> {
    while !is_over.load(Ordering::Relaxed) {
        marker.write(Event::Beat)?;
        sleep(BEAT);
    }
    Ok(())
}

/// The value; without it nothing can go on, and whoever waits for it would do so for ever.
fn or_exit<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("cachefiles-powercut: {error:#}");
        std::process::exit(1)
    })
}
