// SPDX-License-Identifier: GPL-2.0
//! Where the supervisor gets the device from.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result};
use cachefiles_protocol::Device;

use super::SuperviseArgs;
use crate::cache;
use crate::control;
use crate::systemd;

/// The device: from systemd, opened and bound, or from a worker whose supervisor is dead.
pub fn obtain_device(args: &mut SuperviseArgs) -> Result<Device> {
    let device = match systemd::device_from_environment()? {
        Some(device) => device,
        None => match cache::open_and_bind(&mut args.cache) {
            Ok(device) => {
                systemd::store(&device);
                return Ok(device);
            }
            Err(error) if cache::is_busy(&error) => {
                let device = adopt(args, error)?;
                systemd::store(&device);
                device
            }
            Err(error) => return Err(error),
        },
    };
    device
        .restore()
        .context("asking the kernel to repeat unanswered requests (restore)")?;
    args.cache.live.set(&device)?;
    Ok(device)
}

/// Takes the device from an orphan, or fails as opening it did.
fn adopt(args: &SuperviseArgs, busy: anyhow::Error) -> Result<Device> {
    let Some(Ok(dir)) = args.cache.dir.as_deref().map(std::fs::canonicalize) else {
        return Err(busy);
    };
    match control::adopt(&control::path(&args.runtime_dir), &dir) {
        Ok(Some(device)) => Ok(device),
        Ok(None) => Err(busy),
        Err(error) => Err(busy.context(format!("{error:#}"))),
    }
}

/// Nobody else may put a socket there. False if there can be none.
pub fn make_runtime_dir(dir: &Path) -> bool {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    if let Err(error) = &made {
        tracing::warn!(
            "cannot make {}: {error}. Should this be killed, no other can take its worker over",
            dir.display()
        );
    }
    made.is_ok()
}
