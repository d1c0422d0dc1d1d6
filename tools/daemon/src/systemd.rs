// SPDX-License-Identifier: GPL-2.0
//! systemd as the holder: fds it passes, and its fd store.
//!
//! With `FileDescriptorStoreMax=1` (and `NotifyAccess=main`) in the unit, systemd keeps the device
//! open while the service restarts, and passes it to the next start under the name `cachefiles`.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use cachefiles_protocol::Device;
use rustix::io::FdFlags;
use sd_notify::NotifyState;

use crate::handoff::DEVICE_NAME;

/// The device, if systemd passed it.
pub fn device_from_environment() -> Result<Option<Device>> {
    // Without this the call below treats "not under systemd" as an error of its own.
    if std::env::var_os("LISTEN_FDS").is_none() {
        return Ok(None);
    }
    let passed =
        sd_notify::listen_fds_with_names(false).context("reading LISTEN_FDS and LISTEN_FDNAMES")?;
    let Some((fd, _)) = passed.into_iter().find(|(_, name)| name == DEVICE_NAME) else {
        return Ok(None);
    };
    // SAFETY: LISTEN_PID names this process, so systemd opened the fd for it, and nothing else here
    // takes the fds that systemd passes.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).context("the fd that systemd passed")?;
    tracing::info!("the device comes from systemd");
    Ok(Some(Device::from(fd)))
}

/// Has systemd keep the device for the next start. Does nothing outside systemd.
pub fn store(device: &Device) {
    let state = [NotifyState::FdStore, NotifyState::FdName(DEVICE_NAME)];
    if let Err(error) = sd_notify::notify_with_fds(false, &state, &[device.as_fd()]) {
        tracing::warn!("systemd does not store the device: {error}");
    }
}

/// Tells systemd that the service is up. Does nothing outside systemd.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// Tells systemd that the service ends. Does nothing outside systemd.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::warn!("cannot notify systemd: {error}");
    }
}
