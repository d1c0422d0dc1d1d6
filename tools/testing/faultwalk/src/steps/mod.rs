// SPDX-License-Identifier: GPL-2.0
//! The steps of the walk: what can be done with the module, one system call or event after the
//! other.

mod binding;
mod compressed;
mod device;
mod messages;
mod module;
mod mounting;
mod original;
mod reading;

use anyhow::Result;
use cachefiles_harness::context::{Context, TAG};
use cachefiles_harness::image::{BLOCK, Builder, Image, pattern};
use cachefiles_harness::sys;
use cachefiles_protocol::{Device, Errno};

use crate::daemon::Daemon;
use crate::inject::Mode;
use crate::walk::Walk;

/// A step.
#[derive(Clone, Copy)]
pub struct Step {
    /// What is done.
    pub name: &'static str,
    /// What it is about: at the end of a subject lost memory is looked for.
    pub subject: &'static str,
    /// How its failures are counted: those of one thread, those of everybody.
    pub modes: &'static [Mode],
    /// Does it over and over.
    pub run: fn(&mut Walk<'_>) -> Result<()>,
}

/// What only the calling thread does.
const HERE: &[Mode] = &[Mode::Task];
/// That, with data from or to user space.
const HERE_WITH_COPIES: &[Mode] = &[Mode::Task, Mode::Copies];
/// What workers of the kernel and the daemon take part in.
const EVERYWHERE: &[Mode] = &[Mode::Task, Mode::Slab, Mode::Pages];

/// A step named after its function.
macro_rules! step {
    ($run:ident, $modes:expr) => {
        $crate::steps::Step {
            name: stringify!($run),
            subject: module_path!(),
            modes: $modes,
            run: $run,
        }
    };
}
use step;

/// All of them, in the order in which they are taken.
pub fn all() -> impl Iterator<Item = &'static Step> {
    [
        module::STEPS,
        device::STEPS,
        binding::STEPS,
        mounting::STEPS,
        messages::STEPS,
        reading::STEPS,
        compressed::STEPS,
        original::STEPS,
    ]
    .into_iter()
    .flatten()
}

/// What came of a call: `ok`, or the name of its error.
fn outcome<T>(result: &Result<T, Errno>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(errno) => error_name(*errno),
    }
}

fn error_name(errno: Errno) -> String {
    const NAMES: &[(Errno, &str)] = &[
        (Errno::NOMEM, "ENOMEM"),
        (Errno::IO, "EIO"),
        (Errno::NOBUFS, "ENOBUFS"),
        (Errno::FAULT, "EFAULT"),
        (Errno::NFILE, "ENFILE"),
        (Errno::MFILE, "EMFILE"),
        (Errno::INVAL, "EINVAL"),
        (Errno::BUSY, "EBUSY"),
        (Errno::STALE, "ESTALE"),
        (Errno::NOENT, "ENOENT"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::EXIST, "EEXIST"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
        (Errno::NODATA, "ENODATA"),
    ];
    let known = NAMES.iter().find(|(known, _)| *known == errno);
    known.map_or_else(
        || format!("errno {}", errno.raw_os_error()),
        |(_, name)| (*name).into(),
    )
}

/// The file system id of the walk's image.
const FSID: &str = "walk";
/// What mounts it.
const OPTIONS: &str = "fsid=walk";

/// A small image with data in its primary blob and in another one.
fn image() -> Image {
    Builder::new()
        .device("blob")
        .plain("near", pattern(1, 3 * BLOCK + 5))
        .chunked("far", pattern(2, 6 * BLOCK), 2, &[Some(1)])
        .build()
}

/// A daemon of that image on a freshly bound cache.
fn daemon(ctx: &Context) -> Result<Daemon> {
    let device = ctx.device()?;
    device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))?;
    Ok(Daemon::new(device, FSID, image()))
}

/// The same on an empty disk.
fn fresh_daemon(ctx: &Context) -> Result<Daemon> {
    sys::empty_cache()?;
    daemon(ctx)
}

/// That the cache still does what it is for; or, where it died of the failure, that a new one on
/// the same disk does. Lets go of all of it.
fn prove(ctx: &Context, mut daemon: Daemon) -> Result<()> {
    if daemon.is_dead || is_dead(&daemon.session.device) {
        drop(daemon);
        daemon = self::daemon(ctx)?;
    }
    let mounted = daemon
        .mount(&ctx.mount_point(FSID), OPTIONS, None)?
        .map_err(|errno| {
            anyhow::anyhow!("mount once nothing fails any more: {}", error_name(errno))
        })?;
    daemon.check(&mounted)?;
    daemon.unmount(mounted, None)
}

/// Whether a bound cache says that it is dead.
fn is_dead(device: &Device) -> bool {
    device.command("debug 0") == Err(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        let mut seen = HashSet::new();
        for step in super::all() {
            assert!(seen.insert(step.name), "{} twice", step.name);
        }
    }
}
