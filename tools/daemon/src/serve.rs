// SPDX-License-Identifier: GPL-2.0
//! The worker: answers the kernel's requests, on several threads.

mod engine;
mod retry;
mod worker;

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

pub use self::engine::{Engine, Policy};
use self::worker::{Stop, Worker};
use crate::backend::LocalDir;
use crate::cache::{self, CacheArgs};
use crate::handoff::{self, Handoff};
use crate::identity::Identities;
use crate::stats::Stats;
use crate::systemd;

/// Options of `serve`.
///
/// The device comes from the first of these that is there: the holder named by --fd-from, systemd
/// (an fd named `cachefiles` from its fd store), or --device, which is then bound to --dir.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    cache: CacheArgs,
    /// Directory of blobs: a blob's file has the name of its cookie key (fsid or device name)
    #[arg(long, value_name = "DIR")]
    blobs: PathBuf,
    /// Number of threads that answer requests
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Unix socket whose listener passes the bound device (SCM_RIGHTS); `-`: stdin is the
    /// connection
    #[arg(long, value_name = "PATH")]
    fd_from: Option<PathBuf>,
    /// Have the kernel repeat what an earlier worker left unanswered (when the device was bound
    /// before)
    #[arg(long)]
    restore: bool,
    /// File to keep the counters in, where a holder passed none
    #[arg(long, value_name = "PATH")]
    stats: Option<PathBuf>,
    /// How often one READ is tried before its object's fd is closed, for the kernel to open it anew
    /// (the C module of Linux 6.12 does so only at the next restore: give it many tries)
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    tries: u32,
}

/// Runs the worker until SIGTERM or SIGINT.
pub fn run(args: &ServeArgs) -> Result<()> {
    // Set up before anything can be interrupted, so that a signal is never missed.
    let (signals, signal_end) = UnixStream::pair().context("making the pipe for signals")?;
    for signal in [SIGTERM, SIGINT] {
        let end = signal_end
            .try_clone()
            .context("making the pipe for signals")?;
        signal_hook::low_level::pipe::register(signal, end).context("catching signals")?;
    }
    raise_fd_limit();
    let backend = LocalDir::new(&args.blobs)?;
    let holder = args.fd_from.as_deref().map(connect).transpose()?;
    let Handoff { device, stats } = obtain_device(args, holder.as_ref())?;
    // Bound by somebody else, it may have another limit or none.
    cache::set_timeout(&device, args.cache.timeout)?;
    let stats = match (stats, &args.stats) {
        (Some(file), _) => Stats::open(&file)?,
        (None, Some(path)) => Stats::create(&create_stats(path)?)?,
        (None, None) => Stats::create(&Stats::memory_file()?)?,
    };
    stats.workers.fetch_add(1, Ordering::Relaxed);
    if args.restore {
        device
            .restore()
            .context("asking the kernel to repeat unanswered requests (restore)")?;
    }

    let stop = Stop::new()?;
    let policy = Policy {
        tries: args.tries,
        ..Policy::default()
    };
    let identities = args.cache.dir.as_deref().map(Identities::new).transpose()?;
    if identities.is_none() {
        tracing::warn!(
            "no --dir: a blob that is replaced by another of the same name is not noticed"
        );
    }
    let engine = Engine::new(device, Box::new(backend), identities, stats, policy);
    let workers: Vec<Worker> = (0..args.threads)
        .map(|_| Worker::new(&engine, &stop))
        .collect::<Result<_, _>>()
        .context("setting up epoll")?;
    if let Some(mut holder) = holder.as_ref() {
        // A holder that is not interested in the answer may have gone already.
        let _ = holder.write_all(handoff::READY);
    } else {
        systemd::ready();
    }
    tracing::info!(
        "serving {} on {} threads",
        args.blobs.display(),
        args.threads
    );

    let outcome = std::thread::scope(|scope| {
        let handles: Vec<_> = workers
            .into_iter()
            .map(|worker| scope.spawn(move || worker.run()))
            .collect();
        let waited = wait_for_signal(&signals, &stop);
        stop.trigger();
        let results = handles.into_iter().map(|handle| handle.join());
        results.fold(waited, |outcome, result| match result {
            Ok(result) => outcome.and(result),
            Err(_) => outcome.and(Err(anyhow::anyhow!("a thread panicked"))),
        })
    });
    systemd::stopping();
    tracing::info!(
        "stopped: {} READs taken",
        engine.stats().reads.load(Ordering::Relaxed)
    );
    outcome
}

/// Gets the device from wherever the options and the environment say.
fn obtain_device(args: &ServeArgs, holder: Option<&UnixStream>) -> Result<Handoff> {
    if let Some(socket) = holder {
        return handoff::take(socket);
    }
    if let Some(device) = systemd::device_from_environment()? {
        return Ok(Handoff {
            device,
            stats: None,
        });
    }
    let device = cache::open_and_bind(&args.cache)?;
    systemd::store(&device);
    Ok(Handoff {
        device,
        stats: None,
    })
}

/// The connection to the holder of the device.
fn connect(path: &Path) -> Result<UnixStream> {
    if path == Path::new("-") {
        let stdin = std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .context("stdin")?;
        return Ok(UnixStream::from(stdin));
    }
    UnixStream::connect(path).with_context(|| {
        format!(
            "cannot connect to the holder of the device at {}",
            path.display()
        )
    })
}

fn create_stats(path: &Path) -> Result<File> {
    let options = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path);
    options.with_context(|| format!("cannot create the file of counters {}", path.display()))
}

/// Each object costs two fds, so take as many as the system gives.
fn raise_fd_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(errno) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    ) {
        tracing::warn!("cannot raise the limit of open files: {errno}");
    }
}

/// Returns on a signal, or when a thread has given up.
fn wait_for_signal(signals: &UnixStream, stop: &Stop) -> Result<()> {
    let mut fds = [
        PollFd::new(signals, PollFlags::IN),
        PollFd::new(stop, PollFlags::IN),
    ];
    loop {
        match poll(&mut fds, None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(std::io::Error::from(errno)).context("waiting for a signal"),
        }
    }
}
