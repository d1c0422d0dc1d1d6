// SPDX-License-Identifier: GPL-2.0
//! Opening, configuring and binding a cache, with errors that say what to do.

mod live;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use cachefiles_protocol::{DEVICE_PATH, Device, Errno, Limit};
use clap::Args;

pub use self::live::LiveArgs;
use crate::doctor;
use crate::holders::Holders;

/// What makes up a cache.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct CacheArgs {
    /// The cachefiles control device
    #[arg(long, default_value = DEVICE_PATH, value_name = "PATH")]
    pub device: PathBuf,
    /// Directory that holds the cache, on a filesystem with extended attributes such as ext4
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Name of the cache in the kernel's lists
    #[arg(long, default_value = "ondemand")]
    pub tag: String,
    /// Free files in percent above which culling stops
    #[arg(long, default_value_t = 7, value_name = "PERCENT", value_parser = percent())]
    pub frun: u8,
    /// Free files in percent below which culling starts
    #[arg(long, default_value_t = 5, value_name = "PERCENT", value_parser = percent())]
    pub fcull: u8,
    /// Free files in percent below which nothing more is stored
    #[arg(long, default_value_t = 1, value_name = "PERCENT", value_parser = percent())]
    pub fstop: u8,
    /// Free blocks in percent above which culling stops
    #[arg(long, default_value_t = 7, value_name = "PERCENT", value_parser = percent())]
    pub brun: u8,
    /// Free blocks in percent below which culling starts
    #[arg(long, default_value_t = 5, value_name = "PERCENT", value_parser = percent())]
    pub bcull: u8,
    /// Free blocks in percent below which nothing more is stored
    #[arg(long, default_value_t = 1, value_name = "PERCENT", value_parser = percent())]
    pub bstop: u8,
    /// Have blobs that are in the cache as a whole looked up without the daemon: for blobs whose
    /// names tell their content
    #[arg(long)]
    pub daemonless: bool,
    /// Have the cache take network file systems (NFS, 9p, ...) beside the images
    #[arg(long)]
    pub mixed: bool,
    /// What the kernel takes later on as well.
    #[command(flatten)]
    pub live: LiveArgs,
}

fn percent() -> clap::builder::RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(0..100)
}

/// Opens the device and binds the cache in on-demand mode. What the module does not have, and can
/// be done without, is taken out of the options.
pub fn open_and_bind(args: &mut CacheArgs) -> Result<Device> {
    let Some(dir) = args.dir.clone() else {
        bail!("no cache directory: give --dir DIR (or a device that is already bound)");
    };
    let device = Device::open_path(&args.device).map_err(|errno| {
        let way_out = match errno {
            Errno::NOENT | Errno::NXIO | Errno::NODEV => {
                "is the module loaded? try `modprobe cachefiles`"
            }
            Errno::BUSY => return busy(&args.device),
            Errno::PERM | Errno::ACCESS => "root (CAP_SYS_ADMIN) is needed",
            _ => "see the kernel log",
        };
        anyhow::Error::from(errno)
            .context(format!("cannot open {}: {way_out}", args.device.display()))
    })?;
    let files = [
        (Limit::Frun, args.frun),
        (Limit::Fcull, args.fcull),
        (Limit::Fstop, args.fstop),
    ];
    let blocks = [
        (Limit::Brun, args.brun),
        (Limit::Bcull, args.bcull),
        (Limit::Bstop, args.bstop),
    ];
    set_limits(&device, files)?;
    set_limits(&device, blocks)?;
    args.live.set(&device)?;
    args.daemonless = args.daemonless
        && has(
            "daemonless",
            device.set_daemonless(true),
            "each mount needs the daemon",
        )?;
    args.mixed = args.mixed
        && has(
            "mixed",
            device.set_mixed(true),
            "network file systems are not cached",
        )?;
    device.bind_ondemand(&dir, Some(&args.tag)).map_err(|errno| {
        let way_out = match errno {
            Errno::NOENT | Errno::NOTDIR => "the directory does not exist: create it",
            Errno::OPNOTSUPP => {
                "the kernel has no on-demand mode (CONFIG_CACHEFILES_ONDEMAND), or the directory's \
                 filesystem lacks tmpfiles or extended attributes: use ext4 or xfs"
            }
            Errno::INVAL => "is it a plain path, on a mount without id mapping?",
            Errno::ROFS => "its filesystem is mounted read-only",
            Errno::BUSY => "this directory or tag is in use by another cache",
            _ => "see the kernel log",
        };
        anyhow::Error::from(errno).context(format!("cannot bind the cache to {}: {way_out}", dir.display()))
    })?;
    tracing::info!(
        "cache bound to {}, tag {}{}{}{}",
        dir.display(),
        args.tag,
        if args.daemonless { ", daemonless" } else { "" },
        if args.mixed { ", mixed" } else { "" },
        args.live
    );
    doctor::warn_without_erofs();
    Ok(device)
}

/// Says who has the device open.
fn busy(device: &Path) -> anyhow::Error {
    let holders = Holders::of(device, Path::new("/proc"));
    let way_out = if holders.found.iter().any(|holder| holder.pid == 1) {
        ". systemd keeps it for a service: start that service, or stop it (and `systemctl clean \
         --what=fdstore` it)"
    } else {
        ". Unmount its images and stop it first, or have it pass the device on (--fd-from)"
    };
    let found = !holders.found.is_empty();
    anyhow::Error::from(Errno::BUSY).context(format!(
        "cannot open {}: {holders}{}",
        device.display(),
        if found { way_out } else { "" }
    ))
}

/// Whether the error is that another process has the device open, or uses the directory.
pub fn is_busy(error: &anyhow::Error) -> bool {
    error.downcast_ref() == Some(&Errno::BUSY)
}

/// Whether the kernel has taken a command that it can do without, before the cache is bound.
/// `otherwise` is what that means.
fn has(command: &str, result: Result<(), Errno>, otherwise: &str) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOTTY) => {
            let lacks = live::lacks(command, "28 November 2026");
            tracing::warn!("{lacks}; going on without: {otherwise}");
            Ok(false)
        }
        Err(errno) => Err(errno).with_context(|| format!("cannot set `{command}`")),
    }
}

/// Sets run, cull and stop, in an order in which each step keeps stop < cull < run.
fn set_limits(device: &Device, limits: [(Limit, u8); 3]) -> Result<()> {
    for (limit, percent) in limit_steps(limits)? {
        device
            .set_limit(limit, percent)
            .with_context(|| format!("cannot set {limit} to {percent}%"))?;
    }
    Ok(())
}

/// The steps of [`set_limits`]: first run and stop out of the way, then each to its place.
fn limit_steps([run, cull, stop]: [(Limit, u8); 3]) -> Result<[(Limit, u8); 5]> {
    ensure!(
        stop.1 < cull.1 && cull.1 < run.1,
        "limits out of order: {} {}% < {} {}% < {} {}% does not hold",
        stop.0,
        stop.1,
        cull.0,
        cull.1,
        run.0,
        run.1
    );
    Ok([(run.0, 99), (stop.0, 0), cull, run, stop])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The kernel refuses a step that breaks the order, whatever comes later.
        #[test]
        fn every_step_keeps_the_order(run in 0u8..100, cull in 0u8..100, stop in 0u8..100) {
            let limits = [(Limit::Frun, run), (Limit::Fcull, cull), (Limit::Fstop, stop)];
            let ordered = stop < cull && cull < run;
            let steps = limit_steps(limits);
            prop_assert_eq!(steps.is_ok(), ordered);
            let (mut is_run, mut is_cull, mut is_stop) = (7, 5, 1);
            for (limit, percent) in steps.into_iter().flatten() {
                match limit {
                    Limit::Frun => is_run = percent,
                    Limit::Fcull => is_cull = percent,
                    _ => is_stop = percent,
                }
                prop_assert!(is_stop < is_cull && is_cull < is_run && is_run < 100);
            }
            prop_assert!(!ordered || (is_run, is_cull, is_stop) == (run, cull, stop));
        }
    }
}
