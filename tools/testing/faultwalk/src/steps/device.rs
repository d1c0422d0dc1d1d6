// SPDX-License-Identifier: GPL-2.0
//! The device and its commands, with no cache bound or a plain one.

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::context::{Context, TAG};
use cachefiles_harness::{share, sys};
use cachefiles_protocol::{Device, Errno};

use super::{HERE, HERE_WITH_COPIES, Step, outcome, step};
use crate::walk::{Below, Walk};

pub const STEPS: &[Step] = &[
    step!(open_device, HERE),
    step!(command_dir, HERE_WITH_COPIES),
    step!(command_tag, HERE_WITH_COPIES),
    step!(command_limit, HERE_WITH_COPIES),
    step!(command_secctx, HERE_WITH_COPIES),
    step!(command_debug, HERE_WITH_COPIES),
    step!(command_unknown, HERE_WITH_COPIES),
    step!(command_cull_of_a_file, HERE_WITH_COPIES),
    step!(command_cull_of_a_directory, HERE_WITH_COPIES),
    step!(command_inuse, HERE_WITH_COPIES),
    step!(read_state, HERE_WITH_COPIES),
    step!(read_lists, HERE_WITH_COPIES),
];

fn open_device(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |_, fault| {
        let result = fault.hit(Device::open)?;
        let outcome = outcome(&result);
        drop(result);
        let device = Device::open().context("opening once nothing fails any more")?;
        device.command("debug 0")?;
        Ok(outcome)
    })
}

/// A command on a device that nothing was set on, and what it says when nothing fails. One that
/// failed for lack of memory must have had no effect: given again it says the same.
fn command(walk: &mut Walk<'_>, command: &str, expected: Result<(), Errno>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let device = walk.ctx.device()?;
        let result = fault.hit(|| device.command(command))?;
        if result != expected {
            let again = device.command(command);
            ensure!(
                again == expected,
                "{command}, given again, says {}",
                super::outcome(&again)
            );
        }
        Ok(outcome(&result))
    })
}

fn command_dir(walk: &mut Walk<'_>) -> Result<()> {
    command(walk, "dir /cache", Ok(()))
}

fn command_tag(walk: &mut Walk<'_>) -> Result<()> {
    command(walk, "tag walk", Ok(()))
}

fn command_limit(walk: &mut Walk<'_>) -> Result<()> {
    command(walk, "brun 20%", Ok(()))
}

fn command_secctx(walk: &mut Walk<'_>) -> Result<()> {
    // There is no security module in the test kernel.
    command(walk, "secctx a:b:c", Err(Errno::OPNOTSUPP))
}

fn command_debug(walk: &mut Walk<'_>) -> Result<()> {
    command(walk, "debug 0", Ok(()))
}

fn command_unknown(walk: &mut Walk<'_>) -> Result<()> {
    command(walk, "nonsense", Err(Errno::OPNOTSUPP))
}

/// A bound cache in the original mode, with `victim` in its store, from which the command is given.
fn in_store(
    walk: &mut Walk<'_>,
    command: &str,
    make: fn(&std::path::Path) -> std::io::Result<()>,
    removes: bool,
) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        sys::empty_cache()?;
        let device = bound(walk.ctx)?;
        let store = std::path::Path::new(sys::CACHE).join("cache");
        let victim = store.join("victim");
        make(&victim)?;
        std::env::set_current_dir(&store)?;
        let mut result = fault.hit(|| device.command(command))?;
        let first = outcome(&result);
        // What was not done, with or without an error, can be done now.
        if result.is_err() || victim.exists() == removes {
            result = device.command(command);
        }
        std::env::set_current_dir("/")?;
        ensure!(result.is_ok(), "given again, it says {}", outcome(&result));
        ensure!(victim.exists() != removes, "given again, it did nothing");
        drop(device);
        Ok(first)
    })
}

fn command_cull_of_a_file(walk: &mut Walk<'_>) -> Result<()> {
    in_store(walk, "cull victim", |path| std::fs::write(path, "x"), true)
}

fn command_cull_of_a_directory(walk: &mut Walk<'_>) -> Result<()> {
    in_store(walk, "cull victim", |path| std::fs::create_dir(path), true)
}

fn command_inuse(walk: &mut Walk<'_>) -> Result<()> {
    in_store(
        walk,
        "inuse victim",
        |path| std::fs::write(path, "x"),
        false,
    )
}

fn read_state(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let device = bound(walk.ctx)?;
        let mut buffer = [0; 512];
        let result = fault.hit(|| rustix::io::read(&device, &mut buffer))?;
        let length = rustix::io::read(&device, &mut buffer).context("reading the state again")?;
        ensure!(
            buffer[..length].starts_with(b"cull="),
            "the state is {:?}",
            String::from_utf8_lossy(&buffer[..length])
        );
        Ok(outcome(&result))
    })
}

/// What debugfs shows. C shows nothing: then there is nothing to fail.
fn read_lists(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let _device = bound(walk.ctx)?;
        let path = "/sys/kernel/debug/cachefiles/caches";
        let result = fault.hit(|| std::fs::read(path))?;
        let result = result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        if result.as_ref().is_err_and(|&error| error != Errno::NOENT) {
            std::fs::read(path).context("reading the list again")?;
        }
        Ok(outcome(&result))
    })
}

/// A cache in the original mode.
pub(super) fn bound(ctx: &Context) -> Result<Device> {
    let device = ctx.device()?;
    share::bind_device(&device, sys::CACHE.as_ref(), TAG).context("binding the cache")?;
    Ok(device)
}
