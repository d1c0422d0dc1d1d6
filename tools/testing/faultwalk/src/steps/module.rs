// SPDX-License-Identifier: GPL-2.0
//! The module comes and goes.

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::sys;
use cachefiles_protocol::{Device, Errno};
use rustix::fs::{Mode, OFlags};

use super::{HERE, Step, outcome, step};
use crate::inject::Fault;
use crate::walk::{Below, Walk};

pub const STEPS: &[Step] = &[step!(insert_module, HERE), step!(remove_module, HERE)];

/// Only what happens in the module's own initialisation, not in the loader's.
fn insert_module(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Kernel("do_one_initcall"), |walk, fault| {
        if sys::module_loaded() {
            sys::remove_module()?;
        }
        let result = insert(walk, Some(fault))?;
        if result.is_err() {
            ensure!(
                !sys::module_loaded(),
                "insertion failed, and the module is there"
            );
            insert(walk, None)?.context("inserting the module once nothing fails any more")?;
        }
        sys::wait_for("the device node", cachefiles_harness::task::soon(), || {
            std::path::Path::new("/dev/cachefiles").exists()
        })?;
        drop(Device::open().context("opening the device of a module just inserted")?);
        Ok(outcome(&result))
    })
}

fn insert(walk: &Walk<'_>, fault: Option<&Fault>) -> Result<Result<(), Errno>> {
    let file = rustix::fs::open(
        walk.module_path(),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let call = || rustix::system::finit_module(&file, c"", 0);
    match fault {
        Some(fault) => fault.hit(call),
        None => Ok(call()),
    }
}

fn remove_module(walk: &mut Walk<'_>) -> Result<()> {
    walk.each(Below::Module, |walk, fault| {
        let result = fault.hit(sys::remove_module)?;
        if result.is_err() {
            ensure!(
                sys::module_loaded(),
                "removal failed, and the module is gone"
            );
            sys::remove_module().context("removing the module once nothing fails any more")?;
        }
        insert(walk, None)?.context("inserting the module again")?;
        Ok(outcome(&result))
    })
}
