// SPDX-License-Identifier: GPL-2.0
//! A cache comes and goes.

use anyhow::{Context as _, Result};
use cachefiles_harness::context::TAG;
use cachefiles_harness::sys;
use cachefiles_protocol::Device;

use super::{HERE_WITH_COPIES, Step, outcome, step};
use crate::walk::{Below, Walk};

pub const STEPS: &[Step] = &[
    step!(bind_on_an_empty_disk, HERE_WITH_COPIES),
    step!(bind_on_a_used_disk, HERE_WITH_COPIES),
    step!(bind_ondemand, HERE_WITH_COPIES),
    step!(bind_without_a_tag, HERE_WITH_COPIES),
    step!(close_device, super::EVERYWHERE),
    step!(close_device_of_a_cache_that_lingers, super::EVERYWHERE),
    step!(attach, HERE_WITH_COPIES),
];

fn set_up(walk: &Walk<'_>, tag: Option<&str>) -> Result<Device> {
    let device = walk.ctx.device()?;
    device.command(&format!("dir {}", sys::CACHE))?;
    if let Some(tag) = tag {
        device.command(&format!("tag {tag}"))?;
    }
    Ok(device)
}

/// Binds; where that fails, the same device can be bound once nothing fails any more. And when it
/// was let go of, another one.
fn bind(walk: &mut Walk<'_>, command: &str, tag: Option<&str>, empty: bool) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        if empty {
            sys::empty_cache()?;
        }
        let device = set_up(walk, tag)?;
        let result = fault.hit(|| device.command(command))?;
        if result.is_err() {
            device
                .command(command)
                .context("binding once nothing fails any more")?;
        }
        drop(device);
        let device = set_up(walk, tag)?;
        device.command(command).context("binding again")?;
        Ok(outcome(&result))
    })
}

fn bind_on_an_empty_disk(walk: &mut Walk<'_>) -> Result<()> {
    bind(walk, "bind", Some(TAG), true)
}

fn bind_on_a_used_disk(walk: &mut Walk<'_>) -> Result<()> {
    bind(walk, "bind", Some(TAG), false)
}

fn bind_ondemand(walk: &mut Walk<'_>) -> Result<()> {
    bind(walk, "bind ondemand", Some(TAG), true)
}

fn bind_without_a_tag(walk: &mut Walk<'_>) -> Result<()> {
    bind(walk, "bind", None, false)
}

/// The last holder goes, and the cache with it.
fn close_device(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let device = super::device::bound(walk.ctx)?;
        fault.hit(move || drop(device))?;
        drop(super::device::bound(walk.ctx).context("binding again")?);
        Ok("ok".into())
    })
}

/// The same, where the cache waits for the next one: who attaches finds it.
fn close_device_of_a_cache_that_lingers(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let device = walk.ctx.bound_device()?;
        device.set_linger(600)?;
        fault.hit(move || drop(device))?;
        let device = walk.ctx.device()?;
        device.attach(TAG).context("attaching")?;
        device.set_linger(0)?;
        Ok("ok".into())
    })
}

/// Attaches; where that fails, the same device can do so once nothing fails any more.
fn attach(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let device = walk.ctx.bound_device()?;
        device.set_linger(600)?;
        drop(device);
        let device = walk.ctx.device()?;
        let result = fault.hit(|| device.attach(TAG))?;
        if result.is_err() {
            device
                .attach(TAG)
                .context("attaching once nothing fails any more")?;
        }
        device.set_linger(0)?;
        Ok(outcome(&result))
    })
}
