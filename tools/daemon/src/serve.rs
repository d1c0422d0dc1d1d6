// SPDX-License-Identifier: GPL-2.0
//! The worker: answers the kernel's requests.

mod cull;
mod dispatch;
mod engine;
mod fail;
mod failure;
mod in_hand;
mod object;
mod objects;
mod policy;
mod prefetch;
mod trace;
mod units;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub use self::cull::{Culler, Run};
pub use self::engine::Engine;
pub use self::policy::Policy;
pub use self::trace::{TraceArgs, Traces};
use crate::backend::Backend;
use crate::cache::{self, CacheArgs};
use crate::control::{self, Keeper};
use crate::handoff::{self, Handoff};
use crate::identity::Identities;
use crate::metrics;
use crate::mounts;
use crate::place;
use crate::source::SourceArgs;
use crate::stats::Stats;
use crate::systemd;

/// Options of `serve`.
///
/// The device comes from the first of these that is there: the holder named by --fd-from, systemd
/// (an fd named `cachefiles` from its fd store), or --device, which is then bound to --dir.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// File with options like these, in TOML: those that are given take the place of its own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    fetch: FetchArgs,
    /// Unix socket whose listener passes the bound device (SCM_RIGHTS); `-`: stdin is the
    /// connection
    #[arg(long, value_name = "PATH")]
    fd_from: Option<PathBuf>,
    /// Have the kernel repeat what an earlier worker left unanswered (when the device was bound
    /// before)
    #[arg(long)]
    restore: bool,
    /// Where to listen for a supervisor that takes the device over when the one that started this
    /// is dead; `supervise` gives it
    #[arg(long, value_name = "PATH", requires = "fd_from")]
    control: Option<PathBuf>,
    /// Unix socket at which Prometheus finds metrics (GET /metrics)
    #[arg(long, value_name = "PATH")]
    metrics: Option<PathBuf>,
    /// File to keep the counters in, where a holder passed none
    #[arg(long, value_name = "PATH")]
    stats: Option<PathBuf>,
}

/// How blobs are fetched.
#[derive(Debug, Clone, Args)]
pub struct FetchArgs {
    /// How many fetches may be under way at once; one blob takes half of them at most
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// Seconds from when a request is taken to when its reader gets EIO, if the source of the blob
    /// has not answered by then
    #[arg(
        long,
        default_value_t = 30,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub fetch_deadline: u32,
    /// KiB that are fetched at once: a READ is widened to this, and others of the same unit wait
    /// for it; a power of two up to 1024 [default: 1024 with --url and --image, else what is asked
    /// for]
    #[arg(long, value_name = "KIB", value_parser = parse_unit)]
    pub fetch_unit: Option<u32>,
    /// How often a READ is tried before its reader gets EIO
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub tries: u32,
    /// What is recorded and fetched ahead.
    #[command(flatten)]
    pub trace: TraceArgs,
}

fn parse_unit(text: &str) -> Result<u32, String> {
    let unit: u32 = text.parse().map_err(|_| "a number is wanted".to_owned())?;
    let is_unit = unit.is_power_of_two() && (4..=1024).contains(&unit);
    is_unit
        .then_some(unit)
        .ok_or_else(|| "a power of two from 4 to 1024 is wanted".into())
}

impl FetchArgs {
    /// The source, and how it is asked.
    pub fn open(&self, source: &SourceArgs) -> Result<(Box<dyn Backend>, Policy)> {
        let waits = match source.is_remote() {
            true => Policy::REMOTE,
            false => Policy::default(),
        };
        let policy = Policy {
            tries: self.tries,
            deadline: Duration::from_secs(self.fetch_deadline.into()),
            turns: usize::from(self.threads).div_ceil(2),
            unit: self.fetch_unit.map_or(waits.unit, |it| u64::from(it) << 10),
            ..waits
        };
        let backend = source.open(self.threads.into(), policy.deadline)?;
        Ok((backend, policy))
    }
}

impl ServeArgs {
    /// Looks whether a worker with these options could go on where one with `old` ends, as far as
    /// that can be seen.
    fn check_after(&self, old: &Self) -> Result<()> {
        let dir = |args: &Self| {
            let dir = args.cache.dir.as_deref();
            dir.map(|dir| std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned()))
        };
        if (dir(self), &self.cache.device) != (dir(old), &old.cache.device) {
            bail!(
                "the cache's directory and device stay as long as it is bound: stop this, unmount \
                 the images, and start it again (or put `dir` and `device` back)"
            );
        }
        if let Some(path) = &self.metrics {
            place::check_socket(path)?;
        }
        // Where a holder passed one it is of no use.
        if let (Some(path), None) = (&self.stats, &self.fd_from) {
            place::check_file(path)?;
        }
        self.fetch.trace.check()?;
        self.fetch.open(&self.source).map(drop)
    }
}

/// Reads the options again, as the configuration says them now.
pub type Reread = fn() -> Result<ServeArgs>;

/// Runs the worker until SIGTERM or SIGINT; until SIGHUP, too, unless the worker that would come
/// next could not start with the options that `reread` gives.
pub fn run(args: &ServeArgs, reread: Reread) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(args.fetch.threads.into())
        .build()
        .context("starting the runtime")?;
    // Set up before anything can be interrupted, so that a signal is never missed.
    let (stopper, stop) = watch::channel(false);
    catch_signals(&runtime, &stopper, args, reread)?;
    raise_fd_limit();
    let (backend, policy) = args.fetch.open(&args.source)?;
    args.source.images.warn_of_tags();
    let traces = args.fetch.trace.open()?;
    let holder = args.fd_from.as_deref().map(connect).transpose()?;
    let mut cache = args.cache.clone();
    let Handoff { device, stats } = obtain_device(&mut cache, holder.as_ref())?;
    let stats = match (stats, &args.stats) {
        (Some(file), _) => Stats::open(&file)?,
        (None, Some(path)) => Stats::create(&Stats::create_file(path)?)?,
        (None, None) => Stats::create(&Stats::memory_file()?)?,
    };
    stats.workers.fetch_add(1, Ordering::Relaxed);
    if args.restore {
        device
            .restore()
            .context("asking the kernel to repeat unanswered requests (restore)")?;
    }

    let dir = args.cache.dir.as_deref();
    if dir.is_none() {
        tracing::warn!(
            "no --dir: a blob that is replaced by another of the same name is not noticed, and \
             nothing is culled"
        );
    }
    let identities = dir.map(Identities::new).transpose()?;
    let run = Run {
        blocks: args.cache.brun,
        files: args.cache.frun,
    };
    let culler = dir.map(|dir| Culler::new(dir, run)).transpose()?;
    let engine = Engine::new(device, backend, identities, culler, stats, policy);
    let engine = engine.with_traces(traces);
    if let Some(path) = &args.metrics {
        let _inside = runtime.enter();
        let listener = metrics::listen(path)?;
        let metrics = engine.metrics().with_settings(&cache.live);
        runtime.spawn(metrics::serve(listener, metrics));
    }
    let listener = args.control.as_deref().map(control::listen).transpose()?;
    if let Some(mut holder) = holder.as_ref() {
        // A holder that is not interested in the answer may have gone already.
        let _ = holder.write_all(handoff::READY);
    } else {
        systemd::ready();
    }
    tracing::info!("serving {}; {}", args.source, args.source.verify);

    let engine = Arc::new(engine);
    if let Some(listener) = listener {
        let keeper = Keeper {
            dir: dir.map(std::fs::canonicalize).transpose()?,
            supervisor: holder,
        };
        let (engine, stopper) = (Arc::clone(&engine), stopper.clone());
        std::thread::spawn(move || keep(&listener, &keeper, &engine, &stopper));
    }
    let outcome = runtime.block_on(dispatch::run(Arc::clone(&engine), stop));
    engine.traces.write();
    if args.fd_from.is_none() {
        warn_of_images(&cache);
        cache.live.leave(engine.device(), &cache.tag);
    }
    // Threads whose source does not answer are not waited for.
    runtime.shutdown_background();
    systemd::stopping();
    tracing::info!(
        "stopped: {} READs taken",
        engine.stats().reads.load(Ordering::Relaxed)
    );
    outcome
}

/// For whoever stops what has no holder but systemd, which may keep the device over a stop, or for
/// a restart only.
fn warn_of_images(cache: &CacheArgs) {
    let in_use = mounts::in_use(&cache.tag);
    if !in_use.is_empty() {
        tracing::warn!(
            "images are in use: {}. Unless this is started again, {} (or waits on, where systemd \
             keeps the device)",
            in_use.join(", "),
            cache.live.outlook()
        );
    }
}

/// Gets the device from wherever the options and the environment say.
fn obtain_device(cache: &mut CacheArgs, holder: Option<&UnixStream>) -> Result<Handoff> {
    let bound = match holder {
        Some(socket) => Some(handoff::take(socket)?),
        None => systemd::device_from_environment()?.map(|device| Handoff {
            device,
            stats: None,
        }),
    };
    if let Some(handoff) = bound {
        // Bound by somebody else, it may have another limit or none.
        cache.live.set(&handoff.device)?;
        return Ok(handoff);
    }
    let device = cache::open_and_bind(cache)?;
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

/// Has each signal that ends the worker do so. Whoever keeps it running starts it again after
/// SIGHUP.
fn catch_signals(
    runtime: &Runtime,
    stopper: &watch::Sender<bool>,
    args: &ServeArgs,
    reread: Reread,
) -> Result<()> {
    let _inside = runtime.enter();
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        let mut signals = signal(kind).context("catching signals")?;
        let (stopper, args) = (stopper.clone(), args.clone());
        runtime.spawn(async move {
            while signals.recv().await.is_some() {
                match check_before(kind, &args, reread) {
                    Ok(()) => drop(stopper.send_replace(true)),
                    Err(error) => tracing::error!("not reloaded: {error:#}"),
                }
            }
        });
    }
    Ok(())
}

/// After SIGHUP the configuration is read anew: by another process, which had better understand it,
/// and be able to do what it says.
fn check_before(kind: SignalKind, args: &ServeArgs, reread: Reread) -> Result<()> {
    if kind == SignalKind::hangup() {
        reread()?.check_after(args)?;
    }
    Ok(())
}

/// Hands the device to another supervisor when the own one is dead, and stops then.
fn keep(listener: &UnixListener, keeper: &Keeper, engine: &Engine, stopper: &watch::Sender<bool>) {
    loop {
        let (connection, _) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("no other supervisor can take over any more: {error}");
                return;
            }
        };
        match keeper.answer(&connection, engine.device()) {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!("another supervisor has the device now");
                stopper.send_replace(true);
                return;
            }
            Err(error) => tracing::warn!("the device was asked for: {error:#}"),
        }
    }
}
