// SPDX-License-Identifier: GPL-2.0
//! Writing to the device: how a command is taken apart, whatever command it is.

use anyhow::Result;
use cachefiles_harness::context::Context;
use cachefiles_harness::raw;

use crate::observe::{each, said, value};
use crate::probe::{Probe, Rows, probe};
use crate::world::{self, MODES};

pub const PROBES: &[Probe] = &[
    probe!("write", taking_a_command_apart),
    probe!("write", writing_to_a_dead_cache),
];

/// Each of the commands on a device of its own.
fn on_fresh_devices(ctx: &Context, commands: &[&str]) -> Result<String> {
    let mut results = Vec::new();
    for command in commands {
        let device = ctx.device()?;
        results.push((
            (*command).to_owned(),
            value(rustix::io::write(&device, command.as_bytes())),
        ));
    }
    Ok(each(results))
}

fn taking_a_command_apart(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let device = ctx.device()?;
    rows.row(
        "length",
        "14",
        value(rustix::io::write(&device, b"tag some thing")),
    )?;
    drop(device);
    for (id, expect, commands) in [
        (
            "unknown",
            "EOPNOTSUPP",
            &[
                "frobnicate",
                "x y",
                "BIND",
                "bindx",
                "bin",
                "dirs /cache",
                "copenn 1,1",
            ][..],
        ),
        (
            "of-our-own",
            "EOPNOTSUPP",
            &[
                "timeout x",
                "linger x",
                "readahead x",
                "attach",
                "daemonless x",
                "mixed x",
            ],
        ),
        (
            "leading-space",
            "EOPNOTSUPP",
            &[" dir /cache", "\tdir /cache", " ", " \n", "\x0bdir /cache"],
        ),
        ("empty", "EOPNOTSUPP", &[""]),
        (
            "NUL",
            "EINVAL",
            &[
                "\0",
                "dir /cache\0",
                "dir\0/cache",
                "dir /cache\n\0",
                "nonsense\0",
            ],
        ),
        ("leading-newline", "EINVAL", &["\n", "\ndir /cache", "\n\n"]),
        (
            "newline.rest-dropped",
            "25",
            &[
                "frun 50%\nfrun nonsense 12",
                "tag a\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
            ],
        ),
        (
            "separators",
            "12",
            &[
                "dir   /cache",
                "dir\t  /cache",
                "dir\x0b\x0c /cache",
                "dir\r  /cache",
            ],
        ),
        (
            "separators.no-break-space",
            "EOPNOTSUPP",
            &["dir\u{a0}/cache"],
        ),
        ("trailing-space", "13", &["tag trailing "]),
        ("carriage-return", "EINVAL", &["frun 50%\r\n"]),
    ] {
        let seen = on_fresh_devices(ctx, commands)?;
        rows.row(id, expect, seen)?;
    }
    let device = ctx.device()?;
    for (id, expect, length) in [
        ("length.PAGE_SIZE", "EOPNOTSUPP", 4096),
        ("length.PAGE_SIZE+1", "EOPNOTSUPP", 4097),
        ("length.huge", "EOPNOTSUPP", 1 << 20),
        ("length.PAGE_SIZE-1", "4095", 4095),
    ] {
        let command = format!("tag {}", "t".repeat(length - 4));
        rows.row(
            id,
            expect,
            value(rustix::io::write(&device, command.as_bytes())),
        )?;
    }
    rows.row(
        "EFAULT",
        "EFAULT",
        said(raw::write_from_address(&device, 8, 10)),
    )?;
    rows.as_c(
        "EFAULT.PAGE_SIZE",
        said(raw::write_from_address(&device, 8, 4096)),
    )?;
    rows.as_c(
        "EFAULT.length-0",
        value(raw::write_from_address(&device, 8, 0)),
    )?;
    Ok(())
}

fn writing_to_a_dead_cache(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (mode, bind) in MODES {
        let device = world::bound(ctx, bind)?;
        world::kill(&device)?;
        dead_rows(rows, mode, &device)?;
    }
    Ok(())
}

fn dead_rows(rows: &mut Rows, mode: &str, device: &cachefiles_protocol::Device) -> Result<()> {
    let commands = [
        "restore",
        "nonsense",
        "tag x",
        "",
        "\n",
        " x",
        "cull x",
        "inuse x",
        "bind",
        "frun 50%",
        "copen 0,1",
    ];
    let results = commands.map(|command| (command.to_owned(), said(device.command(command))));
    rows.row(format!("dead.{mode}"), "EIO", each(results))?;
    let long = said(device.command(&"x".repeat(5000)));
    rows.row(format!("dead.{mode}.PAGE_SIZE"), "EIO", long)
}
