// SPDX-License-Identifier: GPL-2.0
//! The commands that are written to the device, and the errors of each.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Device, Errno};

use crate::context::{Context, expect_errno};
use crate::raw;
use crate::registry::{Test, test};

pub const TESTS: &[Test] = &[
    test!(
        unknown_command_is_refused_with_eopnotsupp,
        "a typo is told from a failure"
    ),
    test!(
        command_with_a_leading_space_is_refused_with_eopnotsupp,
        "the command is the first word"
    ),
    test!(empty_command_is_refused, "nothing is not a command"),
    test!(
        embedded_nul_is_refused_with_einval,
        "what the kernel parses is all that was written"
    ),
    test!(
        what_follows_a_newline_is_dropped,
        "echo works, and one write is one command"
    ),
    test!(
        command_of_a_page_or_more_is_refused_with_eopnotsupp,
        "commands are bounded"
    ),
    test!(
        write_from_a_bad_address_gets_efault,
        "a bad pointer is an error, not a crash"
    ),
    test!(
        limits_are_parsed_strictly,
        "a limit is what was meant, or is refused"
    ),
    test!(
        limits_keep_stop_below_cull_below_run,
        "the limits are always in order"
    ),
    test!(
        directory_and_tag_are_given_once_and_not_empty,
        "a cache has one place and one name"
    ),
    test!(
        security_context_without_an_lsm_is_refused,
        "a label that cannot be enforced is not accepted"
    ),
    test!(
        debug_mask_takes_any_base,
        "debugging can be switched on as documented"
    ),
    test!(
        on_demand_commands_need_the_mode,
        "copen and restore have no meaning elsewhere"
    ),
    test!(
        cull_and_inuse_need_a_ready_cache_and_a_plain_name,
        "nothing is culled by accident"
    ),
];

/// Tries each command on a device of its own, and compares the error.
fn refused(ctx: &Context, errno: Errno, commands: &[&str]) -> Result<()> {
    for command in commands {
        let device = ctx.device()?;
        expect_errno(device.command(command), errno, &format!("{command:?}"))?;
    }
    Ok(())
}

/// Gives the commands one after another; each must be taken whole.
fn accepted(device: &Device, commands: &[&str]) -> Result<()> {
    for command in commands {
        let written = rustix::io::write(device, command.as_bytes())
            .with_context(|| format!("{command:?}"))?;
        ensure!(
            written == command.len(),
            "{command:?}: only {written} bytes were taken"
        );
    }
    Ok(())
}

fn unknown_command_is_refused_with_eopnotsupp(ctx: &Context) -> Result<()> {
    let commands = [
        "frobnicate",
        "BIND",
        "bindx",
        "bin",
        "dirs /cache",
        "x y",
        "copenn 1,1",
    ];
    refused(ctx, Errno::OPNOTSUPP, &commands)
}

fn command_with_a_leading_space_is_refused_with_eopnotsupp(ctx: &Context) -> Result<()> {
    refused(
        ctx,
        Errno::OPNOTSUPP,
        &[" dir /cache", "\tdir /cache", " ", " \n"],
    )
}

fn empty_command_is_refused(ctx: &Context) -> Result<()> {
    refused(ctx, Errno::OPNOTSUPP, &[""])?;
    refused(ctx, Errno::INVAL, &["\n", "\ndir /cache", "\n\n"])
}

fn embedded_nul_is_refused_with_einval(ctx: &Context) -> Result<()> {
    refused(
        ctx,
        Errno::INVAL,
        &["\0", "dir /cache\0", "dir\0/cache", "dir /cache\n\0"],
    )
}

fn what_follows_a_newline_is_dropped(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    accepted(
        &device,
        &[
            "frun 50%\nfrun nonsense",
            "dir /cache\n",
            "tag  spaced\n\n\n",
        ],
    )?;
    accepted(&device, &["bind ondemand\n"])
}

fn command_of_a_page_or_more_is_refused_with_eopnotsupp(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    for length in [4096, 4097, 70_000] {
        let command = format!("tag {}", "t".repeat(length - 4));
        expect_errno(
            device.command(&command),
            Errno::OPNOTSUPP,
            &format!("{length} bytes"),
        )?;
    }
    accepted(&device, &[&format!("tag {}", "t".repeat(4095 - 4))])
}

fn write_from_a_bad_address_gets_efault(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    expect_errno(
        raw::write_from_address(&device, 8, 10),
        Errno::FAULT,
        "a bad address",
    )?;
    accepted(&device, &["dir /cache"])
}

fn limits_are_parsed_strictly(ctx: &Context) -> Result<()> {
    for kind in ["f", "b"] {
        for tail in [
            "run",
            "run 50",
            "run fifty%",
            "run 50%%",
            "run 50% ",
            "run -1%",
            "run 0x32%",
        ] {
            refused(ctx, Errno::INVAL, &[&format!("{kind}{tail}")])?;
        }
        for tail in ["cull", "cull 6", "cull 6%x", "stop", "stop 3", "stop x%"] {
            refused(ctx, Errno::INVAL, &[&format!("{kind}{tail}")])?;
        }
        let device = ctx.device()?;
        accepted(
            &device,
            &[&format!("{kind}run   50%"), &format!("{kind}cull\t40%")],
        )?;
        accepted(
            &device,
            &[&format!("{kind}stop 0%"), &format!("{kind}run 099%")],
        )?;
    }
    Ok(())
}

fn limits_keep_stop_below_cull_below_run(ctx: &Context) -> Result<()> {
    // The defaults are run 7 %, cull 5 %, stop 1 %.
    for kind in ["f", "b"] {
        for tail in [
            "run 100%", "run 5%", "run 0%", "cull 7%", "cull 1%", "stop 5%", "stop 99%",
        ] {
            refused(ctx, Errno::INVAL, &[&format!("{kind}{tail}")])?;
        }
        let device = ctx.device()?;
        for tail in [
            "run 6%", "run 99%", "cull 98%", "stop 97%", "stop 0%", "cull 1%", "run 2%",
        ] {
            accepted(&device, &[&format!("{kind}{tail}")])?;
        }
    }
    Ok(())
}

fn directory_and_tag_are_given_once_and_not_empty(ctx: &Context) -> Result<()> {
    refused(
        ctx,
        Errno::INVAL,
        &["dir", "dir ", "dir  \n", "tag", "tag "],
    )?;
    let device = ctx.device()?;
    accepted(&device, &["dir /cache", "tag one"])?;
    expect_errno(
        device.command("dir /cache"),
        Errno::EXIST,
        "a second directory",
    )?;
    expect_errno(device.command("tag two"), Errno::EXIST, "a second tag")?;
    accepted(&device, &["bind ondemand"])
}

fn security_context_without_an_lsm_is_refused(ctx: &Context) -> Result<()> {
    refused(ctx, Errno::INVAL, &["secctx", "secctx "])?;
    let device = ctx.device()?;
    // An LSM that knows contexts, as AppArmor of distributions, does not know this one.
    let has_lsm = fs::read("/proc/self/attr/current").is_ok();
    // Twice: a refused context must not count as given.
    for _ in 0..2 {
        let result = device.command("secctx system_u:object_r:cachefiles_t");
        if has_lsm {
            let refused = matches!(result, Err(Errno::NOENT | Errno::INVAL | Errno::OPNOTSUPP));
            ensure!(refused, "a context that the LSM does not know: {result:?}");
        } else {
            expect_errno(result, Errno::OPNOTSUPP, "a context without an LSM")?;
        }
    }
    Ok(())
}

fn debug_mask_takes_any_base(ctx: &Context) -> Result<()> {
    let parameter = "/sys/module/cachefiles/parameters/debug";
    let device = ctx.device()?;
    // Bit 3 stands for nothing, so that the log stays quiet.
    for (command, value) in [("debug 8", "8"), ("debug 0x10", "16"), ("debug 010", "8")] {
        accepted(&device, &[command])?;
        let seen = fs::read_to_string(parameter)?;
        ensure!(
            seen.trim() == value,
            "after {command} the parameter is {seen}"
        );
    }
    for command in ["debug x", "debug 8x", "debug 1 2", "debug -1"] {
        expect_errno(device.command(command), Errno::INVAL, command)?;
    }
    let seen = fs::read_to_string(parameter)?;
    ensure!(seen.trim() == "8", "a refused mask was stored: {seen}");
    fs::write(parameter, "0")?;
    accepted(&device, &["debug 0"])
}

fn on_demand_commands_need_the_mode(ctx: &Context) -> Result<()> {
    refused(
        ctx,
        Errno::OPNOTSUPP,
        &["copen 0,4096", "copen", "restore", "restore now"],
    )
}

fn cull_and_inuse_need_a_ready_cache_and_a_plain_name(ctx: &Context) -> Result<()> {
    refused(ctx, Errno::IO, &["cull name", "inuse name"])?;
    refused(ctx, Errno::INVAL, &["cull a/b", "inuse /name", "cull ../x"])
}
