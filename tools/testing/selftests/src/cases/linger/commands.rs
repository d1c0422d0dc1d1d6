// SPDX-License-Identifier: GPL-2.0
//! The commands as such.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Device, Errno};
use rustix::process::{Uid, getuid};
use rustix::thread::{CapabilitiesSecureBits, set_capabilities_secure_bits, set_thread_res_uid};

use super::{LONG, NO_LINGER, attached, end, in_flight, is_served};
use crate::context::{Context, TAG, expect_errno};
use crate::registry::{Module, Test, test};
use crate::share::bind_device;
use crate::sys;
use crate::task::{Task, soon};

pub const TESTS: &[Test] = &[
    test!(
        linger_and_attach_are_no_commands_of_the_c_module,
        "a daemon can find out by trying"
    ),
    test!(
        linger_is_up_to_a_day_and_for_the_on_demand_mode,
        "a time is what was meant, or is refused"
    )
    .c_fails(NO_LINGER),
    test!(
        linger_is_a_parameter_too,
        "for daemons that nobody changes, and what is nonsense is refused"
    )
    .c_fails(NO_LINGER),
    test!(
        attach_comes_first_and_finds_what_waits,
        "a daemon learns what is in its way"
    )
    .c_fails(NO_LINGER),
    test!(
        attach_is_for_the_user_who_has_bound_the_cache,
        "one user's requests are not handed to another"
    )
    .c_fails(NO_LINGER),
];

fn linger_and_attach_are_no_commands_of_the_c_module(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    let (linger, attach) = match ctx.module() {
        Module::Rust => (Errno::INVAL, Errno::NOENT),
        Module::C => (Errno::OPNOTSUPP, Errno::OPNOTSUPP),
    };
    expect_errno(device.attach(TAG), attach, "attach")?;
    expect_errno(device.command("linger x"), linger, "linger")
}

fn linger_is_up_to_a_day_and_for_the_on_demand_mode(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    for bad in ["", " -1", " 86401", " x", " 5s"] {
        let command = format!("linger{bad}");
        expect_errno(device.command(&command), Errno::INVAL, &command)?;
    }
    for good in [0, 1, 86_400] {
        device.set_linger(good)?;
    }
    // As with `timeout`, it is nothing to the original mode.
    bind_device(&device, sys::CACHE.as_ref(), TAG)?;
    expect_errno(device.set_linger(1), Errno::OPNOTSUPP, "the original mode")?;
    drop(device);
    sys::wait_until_unused(soon())
}

fn linger_is_a_parameter_too(ctx: &Context) -> Result<()> {
    super::gates::is_off_and_up_to("linger", 86_400)?;
    super::gates::set("linger", "86400")?;
    let device = ctx.bound_device()?;
    drop(device);
    ensure!(sys::module_references()? > 0, "it did not linger");
    // In the original mode there is nothing to wait for.
    let device = ctx.device()?;
    device.attach(TAG)?;
    device.set_linger(0)?;
    drop(device);
    sys::wait_until_unused(soon())?;
    let device = ctx.device()?;
    bind_device(&device, sys::CACHE.as_ref(), TAG)?;
    drop(device);
    super::gates::set("linger", "0")?;
    sys::wait_until_unused(soon())
}

fn attach_comes_first_and_finds_what_waits(ctx: &Context) -> Result<()> {
    let cache = Path::new(sys::CACHE);
    let device = ctx.device()?;
    expect_errno(device.command("attach"), Errno::INVAL, "no name")?;
    expect_errno(device.attach(TAG), Errno::NOENT, "no cache")?;
    // A bound device.
    device.bind_ondemand(cache, Some(TAG))?;
    expect_errno(device.attach(TAG), Errno::BUSY, "its own cache")?;
    expect_errno(device.attach("another"), Errno::BUSY, "a second cache")?;
    device.set_linger(LONG)?;
    drop(device);
    // One on which something was set.
    for command in ["tag x", "dir /", "brun 10%", "timeout 1", "linger 1"] {
        let device = ctx.device()?;
        device.command(command)?;
        expect_errno(device.attach(TAG), Errno::BUSY, command)?;
    }
    let device = ctx.device()?;
    expect_errno(device.command("tag"), Errno::INVAL, "what is refused")?;
    device.attach(TAG).context("after what was refused")?;
    expect_errno(device.attach(TAG), Errno::BUSY, "twice")?;
    device.set_linger(0)?;
    drop(device);
    sys::wait_until_unused(soon())
}

/// Opens the device as another user, with all capabilities, and does something with it.
fn as_another(act: impl FnOnce(Device) -> Result<(), Errno> + Send + 'static) -> Result<()> {
    let task = Task::start("another user", move || -> Result<Result<(), Errno>> {
        let device = Device::open()?;
        // The ids belong to the thread: the rest of the test keeps its own.
        set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
        set_thread_res_uid(getuid(), Uid::from_raw(1234), getuid())?;
        Ok(act(device))
    });
    expect_errno(task.finish()??, Errno::PERM, "another user")
}

fn attach_is_for_the_user_who_has_bound_the_cache(ctx: &Context) -> Result<()> {
    let image = super::two_blobs();
    let (session, mount, reader) = in_flight(ctx, &image, LONG)?;
    drop(session);
    as_another(|device| device.attach(TAG))?;
    as_another(|device| device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG)))?;
    ensure!(!reader.is_done(), "the reader did not wait");
    let mut session = attached(ctx, &image)?;
    is_served(&mut session, reader, &image)?;
    end(session, mount)
}
