// SPDX-License-Identifier: GPL-2.0
//! Opening the device, and what its file operations are.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::raw;
use cachefiles_harness::task::Task;
use cachefiles_protocol::{Device, Errno};
use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::observe::{command, each, polls, said, value};
use crate::probe::{Probe, Rows, probe};
use crate::world::device_with;

pub const PROBES: &[Probe] = &[
    probe!("open", opening),
    probe!("open", defaults),
    probe!("device", operations_of_the_device),
];

fn opening(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let misc = fs::read_to_string("/proc/misc")?;
    let listed = misc
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .filter(|name| *name == "cachefiles")
        .count();
    rows.row(
        "misc.name",
        "cachefiles, 1 time",
        format!("cachefiles, {listed} time"),
    )?;
    let node = fs::metadata("/dev/cachefiles")?;
    let kind = if node.file_type().is_char_device() {
        "char"
    } else {
        "other"
    };
    let (major, minor) = (
        rustix::fs::major(node.rdev()),
        rustix::fs::minor(node.rdev()),
    );
    // Dynamic minors are below 128 or above 255.
    let minor = if !(128..=255).contains(&minor) {
        "dynamic"
    } else {
        "fixed"
    };
    let seen = format!(
        "{kind} {major}, {minor} minor, mode {:o}",
        node.permissions().mode() & 0o7777
    );
    rows.row("misc.node", "char 10, dynamic minor, mode 600", seen)?;

    // Capabilities belong to the thread: the rest of the probe keeps its own.
    let task = Task::start("open", || -> Result<Result<Device, Errno>> {
        let mut sets = capabilities(None)?;
        sets.effective.remove(CapabilitySet::SYS_ADMIN);
        set_capabilities(None, sets)?;
        Ok(Device::open())
    });
    rows.row("EPERM", "EPERM", said(task.finish()??))?;
    rows.row("after-EPERM", "ok", said(Device::open()))?;

    let first = ctx.device()?;
    rows.row("EBUSY", "EBUSY", said(Device::open()))?;
    let duplicate = first.try_clone()?;
    drop(first);
    rows.row("EBUSY.duplicate", "EBUSY", said(Device::open()))?;
    drop(duplicate);
    rows.row("after-close", "ok", said(Device::open()))?;
    for (name, flags) in [
        ("read-only", OFlags::RDONLY),
        ("write-only", OFlags::WRONLY),
    ] {
        let opened = rustix::fs::open("/dev/cachefiles", flags | OFlags::CLOEXEC, Mode::empty());
        rows.as_c(name, said(opened))?;
    }
    Ok(())
}

/// The limits that a device has at first, found by what the commands accept beside them.
fn defaults(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for kind in ["f", "b"] {
        let refused = |text: &str| -> Result<bool> {
            let device = ctx.device()?;
            Ok(device.command(&format!("{kind}{text}%")).is_err())
        };
        // The lowest `run` is one above `cull`; the lowest `cull` one above `stop`; the highest
        // `cull` one below `run`.
        let first = |verb: &str, wanted: bool| -> Result<u32> {
            for percent in 0..100 {
                if refused(&format!("{verb} {percent}"))? != wanted {
                    return Ok(percent);
                }
            }
            Ok(100)
        };
        let cull = first("run", true)? - 1;
        let stop = first("cull", true)? - 1;
        let mut run = stop + 1;
        while !refused(&format!("cull {run}"))? {
            run += 1;
        }
        let seen = format!("run {run}, cull {cull}, stop {stop}");
        rows.row(format!("defaults.{kind}"), "run 7, cull 5, stop 1", seen)?;
    }
    Ok(())
}

fn operations_of_the_device(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let device = ctx.device()?;
    let mut buffer = [0; 1024];
    rows.row(
        "read.before-bind",
        "0",
        value(rustix::io::read(&device, &mut buffer)),
    )?;
    rows.row("poll.before-bind", "nothing", polls(&device)?)?;
    for (name, from) in [
        ("set", SeekFrom::Start(4096)),
        ("current", SeekFrom::Current(-5)),
        ("end", SeekFrom::End(0)),
    ] {
        rows.as_c(
            format!("lseek.{name}"),
            value(rustix::fs::seek(&device, from)),
        )?;
    }
    let seen = value(rustix::io::pwrite(&device, b"dir /cache", 77));
    rows.as_c("pwrite", seen)?;
    rows.as_c("pread", value(rustix::io::pread(&device, &mut buffer, 77)))?;
    let parts = [
        std::io::IoSlice::new(b"tag a"),
        std::io::IoSlice::new(b"nonsense"),
        std::io::IoSlice::new(b"frun 50%"),
    ];
    rows.as_c("writev", value(rustix::io::writev(&device, &parts)))?;
    rows.as_c("writev.first-part", command(&device, "tag b"))?;
    let operations = [0x4004_9801, 0x5401, 0x0000_9801].map(|operation: u32| {
        let seen = said(raw::any_ioctl(&device, operation, 0));
        (format!("{operation:#x}"), seen)
    });
    rows.as_c("ioctl", each(operations))?;
    rows.as_c("mmap", said(raw::map(&device)))?;
    rows.as_c("fsync", said(rustix::fs::fsync(&device)))?;
    rows.as_c("ftruncate", said(rustix::fs::ftruncate(&device, 0)))?;
    drop(device);

    let open = |flags| rustix::fs::open("/dev/cachefiles", flags, Mode::empty());
    let reader = open(OFlags::RDONLY).context("opening to read")?;
    rows.row(
        "write.read-only",
        "EBADF",
        said(rustix::io::write(&reader, b"dir /cache")),
    )?;
    drop(reader);
    let writer = open(OFlags::WRONLY).context("opening to write")?;
    rows.row(
        "read.write-only",
        "EBADF",
        said(rustix::io::read(&writer, &mut buffer)),
    )?;
    drop(writer);
    drop(device_with(ctx, &["dir /cache"])?);
    Ok(())
}
