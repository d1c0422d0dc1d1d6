// SPDX-License-Identifier: GPL-2.0
//! `bind` and the directory that it is given: the path, the mount, the file system, what lies in
//! it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context as _, Result};
use cachefiles_harness::actor::Actor;
use cachefiles_harness::context::Context;
use cachefiles_harness::kmsg::KernelLog;
use cachefiles_harness::{raw, sys, task};
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, mount, mount_remount, move_mount, open_tree,
};

use crate::observe::{command, logged, said, said_io};
use crate::probe::{Probe, Rows, probe};
use crate::world::{MODES, bound, device_with, fresh_dir, try_bind, within};

pub const PROBES: &[Probe] = &[
    probe!("bind", paths),
    probe!("bind", mounts),
    probe!("bind", file_systems),
    probe!("bind", what_lies_in_the_directory),
    probe!("bind", directory_in_use),
];

fn paths(ctx: &Context, rows: &mut Rows) -> Result<()> {
    fs::write("/cache/file", "x")?;
    symlink("/cache/loop", "/cache/loop")?;
    fs::create_dir("/cache/real")?;
    symlink("real", "/cache/link")?;
    let long = format!("/cache/{}", "n".repeat(300));
    for (mode, bind) in MODES {
        for (what, expect, dir) in [
            ("ENOENT", "ENOENT", "/cache/missing"),
            ("ENOTDIR", "ENOTDIR", "/cache/file"),
            ("ENOTDIR.below", "ENOTDIR", "/cache/file/below"),
            ("ELOOP", "ELOOP", "/cache/loop/below"),
            ("ENOTDIR.symlink-to-itself", "ENOTDIR", "/cache/loop"),
            ("ENAMETOOLONG", "ENAMETOOLONG", &long),
            ("ENOTDIR.symlink", "ENOTDIR", "/cache/link"),
            ("symlink-inside", "ok", "/cache/link/."),
            ("dot-dot", "ok", "/cache/real/../real"),
            ("trailing-slash", "ok", "/cache/real/"),
        ] {
            rows.row(
                format!("path.{what}.{mode}"),
                expect,
                said(try_bind(ctx, dir, bind)?),
            )?;
        }
        let relative = within(Path::new("/cache"), || try_bind(ctx, "real", bind))?;
        rows.row(format!("path.relative.{mode}"), "ok", said(relative?))?;
    }
    Ok(())
}

fn mounts(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let (actor, namespace) = Actor::user_namespace(100_000)?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(rustix::fs::CWD, sys::CACHE, clone).context("open_tree")?;
    raw::map_ids_of_mount(&tree, &namespace).context("mount_setattr")?;
    let point = fresh_dir(ctx.mount_point("mapped"))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, "", rustix::fs::CWD, &point, flags).context("move_mount")?;
    let mapped = point.to_str().context("a path that is no text")?;
    for (mode, bind) in MODES {
        let mut log = KernelLog::from_now()?;
        let seen = said(try_bind(ctx, mapped, bind)?);
        rows.row(format!("EINVAL.id-mapped.{mode}"), "EINVAL", seen)?;
        rows.as_c(format!("EINVAL.id-mapped.{mode}.log"), logged(&mut log)?)?;
        mount_remount(sys::CACHE, MountFlags::RDONLY, c"")?;
        let seen = said(try_bind(ctx, sys::CACHE, bind)?);
        mount_remount(sys::CACHE, MountFlags::empty(), c"")?;
        rows.row(format!("EROFS.{mode}"), "EROFS", seen)?;
        let seen = said(try_bind(ctx, sys::CACHE, bind)?);
        rows.row(format!("EROFS.then-writable.{mode}"), "ok", seen)?;
    }
    sys::unmount_patiently(&point, task::soon())?;
    actor.kill()
}

fn file_systems(ctx: &Context, rows: &mut Rows) -> Result<()> {
    let tmpfs = fresh_dir(ctx.mount_point("tmpfs"))?;
    mount("none", &tmpfs, c"tmpfs", MountFlags::empty(), None)?;
    for name in ["lower", "upper", "scratch"] {
        fresh_dir(tmpfs.join(name))?;
    }
    let overlay = fresh_dir(ctx.mount_point("overlay"))?;
    let at = tmpfs.display();
    let options = format!("lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/scratch");
    let options = std::ffi::CString::new(options)?;
    mount(
        "none",
        &overlay,
        c"overlay",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )
    .context("overlay")?;
    let ramfs = fresh_dir(ctx.mount_point("ramfs"))?;
    mount("none", &ramfs, c"ramfs", MountFlags::empty(), None).context("ramfs")?;
    for (mode, bind) in MODES {
        for (what, expect, dir) in [
            ("EOPNOTSUPP.tmpfs", "EOPNOTSUPP", tmpfs.as_path()),
            ("EOPNOTSUPP.ramfs", "EOPNOTSUPP", &ramfs),
            ("EOPNOTSUPP.proc", "EOPNOTSUPP", Path::new("/proc")),
            ("EOPNOTSUPP.sysfs", "EOPNOTSUPP", Path::new("/sys")),
            ("EOPNOTSUPP.devtmpfs", "EOPNOTSUPP", Path::new("/dev")),
            (
                "EOPNOTSUPP.tracefs",
                "EOPNOTSUPP",
                Path::new("/sys/kernel/tracing"),
            ),
            ("overlay", "ok", &overlay),
        ] {
            let dir = dir.to_str().context("a path that is no text")?;
            rows.row(
                format!("{what}.{mode}"),
                expect,
                said(try_bind(ctx, dir, bind)?),
            )?;
        }
    }
    for target in [overlay, ramfs, tmpfs] {
        sys::unmount_patiently(&target, task::soon())?;
    }
    Ok(())
}

fn what_lies_in_the_directory(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (mode, bind) in MODES {
        for name in ["cache", "graveyard"] {
            let dir = fresh_dir(format!("/cache/{mode}-{name}"))?;
            let text = dir.to_str().context("a path that is no text")?;
            fs::write(dir.join(name), "in the way")?;
            rows.as_c(
                format!("{name}-is-a-file.{mode}"),
                said(try_bind(ctx, text, bind)?),
            )?;
            let left = said_io(fs::remove_file(dir.join(name)));
            rows.row(
                format!("{name}-is-a-file.{mode}.not-left-in-use"),
                "ok",
                left,
            )?;
            symlink("/cache", dir.join(name))?;
            rows.as_c(
                format!("{name}-is-a-symlink.{mode}"),
                said(try_bind(ctx, text, bind)?),
            )?;
            fs::remove_file(dir.join(name))?;
            rows.row(
                format!("{name}-is-missing.{mode}"),
                "ok",
                said(try_bind(ctx, text, bind)?),
            )?;
        }
        let dir = fresh_dir(format!("/cache/{mode}"))?;
        let device = device_with(ctx, &[&format!("dir {}", dir.display()), bind])?;
        let mut seen = Vec::new();
        for name in ["cache", "graveyard"] {
            let mode = fs::metadata(dir.join(name))?.permissions().mode() & 0o7777;
            seen.push(format!(
                "{name} {mode:o} rmdir {}",
                said_io(fs::remove_dir(dir.join(name)))
            ));
        }
        rows.row(
            format!("directories.{mode}"),
            "cache 700 rmdir EBUSY, graveyard 700 rmdir EBUSY",
            seen.join(", "),
        )?;
        drop(device);
        let seen = ["cache", "graveyard"].map(|name| said_io(fs::remove_dir(dir.join(name))));
        rows.row(
            format!("directories.after-unbind.{mode}"),
            "ok, ok",
            seen.join(", "),
        )?;
        // Directories that are there are taken as they are.
        for name in ["cache", "graveyard"] {
            fs::create_dir(dir.join(name))?;
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755))?;
        }
        let text = dir.to_str().context("a path that is no text")?;
        rows.row(
            format!("directories.existing.{mode}"),
            "ok",
            said(try_bind(ctx, text, bind)?),
        )?;
        let kept = fs::metadata(dir.join("cache"))?.permissions().mode() & 0o7777;
        rows.as_c(
            format!("directories.existing.mode.{mode}"),
            format!("{kept:o}"),
        )?;
        // The making of the directories counts as taking space.
        let limits = ["brun 99%", "bcull 98%", "bstop 97%"];
        let full = fresh_dir(format!("/cache/{mode}-full"))?;
        let device = device_with(ctx, &limits)?;
        device.command(&format!("dir {}", full.display()))?;
        rows.as_c(
            format!("below-the-stop-limit.{mode}"),
            command(&device, bind),
        )?;
    }
    Ok(())
}

/// A directory that cannot be buried stays marked as in use with the C module.
fn directory_in_use(ctx: &Context, rows: &mut Rows) -> Result<()> {
    for (mode, bind) in MODES {
        let dir = fresh_dir(format!("/cache/{mode}"))?;
        let point = fresh_dir(dir.join("cache"))?;
        let device = bound(ctx, bind)?;
        mount("none", &point, c"tmpfs", MountFlags::empty(), None)?;
        // The mount point is the victim: it must not be walked into.
        let culled = within(&dir, || command(&device, "cull cache"))?;
        let dead = command(&device, "debug 0");
        drop(device);
        sys::unmount_patiently(&point, task::soon())?;
        rows.as_c(
            format!("EBUSY.directory.cull-of-a-mount-point.{mode}"),
            format!("{culled}, then {dead}"),
        )?;
        let text = dir.to_str().context("a path that is no text")?;
        let mut log = KernelLog::from_now()?;
        rows.as_c(
            format!("EBUSY.directory.{mode}"),
            said(try_bind(ctx, text, bind)?),
        )?;
        rows.as_c(format!("EBUSY.directory.{mode}.log"), logged(&mut log)?)?;
    }
    Ok(())
}
