// SPDX-License-Identifier: GPL-2.0
//! Bringing a cache up: what a directory must offer, and what bind refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Device, Errno};
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, mount, mount_remount, move_mount, open_tree,
};

use crate::actor::Actor;
use crate::context::{Context, TAG, expect_errno};
use crate::kmsg::KernelLog;
use crate::raw;
use crate::registry::{Module, Test, test};
use crate::sys;

pub const TESTS: &[Test] = &[
    test!(bind_needs_a_directory, "a cache without a place is refused"),
    test!(
        bind_takes_no_argument_but_ondemand,
        "a mode that does not exist is refused"
    ),
    test!(
        second_bind_is_refused_with_ebusy,
        "a bound cache stays as it is"
    ),
    test!(
        bind_to_a_path_that_is_no_directory_fails,
        "the path's own errors are passed on"
    ),
    test!(
        bind_to_a_filesystem_without_the_features_is_refused_with_eopnotsupp,
        "the cache needs xattrs, tmpfiles and sync"
    ),
    test!(
        bind_to_a_read_only_filesystem_is_refused_with_erofs,
        "a cache must be writable"
    ),
    test!(
        bind_to_an_id_mapped_mount_is_refused_with_einval,
        "files are not stored under the wrong owner"
    ),
    test!(
        bind_creates_the_store_and_the_graveyard,
        "the layout on disk is part of the interface"
    ),
    test!(
        directories_of_a_bound_cache_are_in_use_by_the_kernel,
        "nobody takes the directories away under a live cache"
    ),
    test!(
        bind_and_unbind_are_logged,
        "an administrator sees when a cache comes and goes"
    ),
    test!(
        bind_without_an_argument_selects_the_caching_mode_or_is_refused,
        "the two modes are not confused"
    ),
    test!(
        cache_can_be_bound_over_and_over,
        "unbinding gives everything back"
    ),
];

/// A device on which `dir` was set, and the result of binding it.
fn try_bind(ctx: &Context, dir: &str) -> Result<Result<(), Errno>> {
    let device = ctx.device()?;
    device.command(&format!("dir {dir}"))?;
    let result = device.command("bind ondemand");
    if result.is_err() {
        let mut buffer = [0; 1024];
        let read = rustix::io::read(&device, &mut buffer)?;
        ensure!(read == 0, "a cache that is not bound sent {read} bytes");
    }
    Ok(result)
}

fn bind_needs_a_directory(ctx: &Context) -> Result<()> {
    for command in ["bind", "bind ondemand", "bind nonsense"] {
        expect_errno(ctx.device()?.command(command), Errno::INVAL, command)?;
    }
    Ok(())
}

fn bind_takes_no_argument_but_ondemand(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    device.command("dir /cache")?;
    for command in [
        "bind nonsense",
        "bind on-demand",
        "bind ondemand ",
        "bind ondemand x",
        "bind Ondemand",
    ] {
        expect_errno(device.command(command), Errno::INVAL, command)?;
    }
    device
        .command("bind ondemand")
        .context("a refused bind can be followed by a right one")
}

fn second_bind_is_refused_with_ebusy(ctx: &Context) -> Result<()> {
    let device = ctx.bound_device()?;
    for command in ["bind ondemand", "bind", "bind nonsense"] {
        expect_errno(device.command(command), Errno::BUSY, command)?;
    }
    Ok(())
}

fn bind_to_a_path_that_is_no_directory_fails(ctx: &Context) -> Result<()> {
    fs::write("/cache/file", "x")?;
    for (dir, errno) in [
        ("/cache/missing", Errno::NOENT),
        ("/cache/file", Errno::NOTDIR),
        ("/cache/file/below", Errno::NOTDIR),
    ] {
        expect_errno(try_bind(ctx, dir)?, errno, dir)?;
    }
    let long = format!("/{}", "n".repeat(300));
    expect_errno(try_bind(ctx, &long)?, Errno::NAMETOOLONG, "a long name")
}

fn bind_to_a_filesystem_without_the_features_is_refused_with_eopnotsupp(
    ctx: &Context,
) -> Result<()> {
    let tmpfs = ctx.mount_point("tmpfs");
    fs::create_dir_all(&tmpfs)?;
    mount("none", &tmpfs, c"tmpfs", MountFlags::empty(), None)?;
    let dir = tmpfs.to_str().context("a path that is no text")?;
    let results = [
        try_bind(ctx, dir),
        try_bind(ctx, "/proc"),
        try_bind(ctx, "/sys"),
    ];
    sys::unmount_patiently(&tmpfs, crate::task::soon())?;
    for result in results {
        expect_errno(
            result?,
            Errno::OPNOTSUPP,
            "a filesystem without the features",
        )?;
    }
    Ok(())
}

fn bind_to_a_read_only_filesystem_is_refused_with_erofs(ctx: &Context) -> Result<()> {
    mount_remount(sys::CACHE, MountFlags::RDONLY, c"")?;
    let result = try_bind(ctx, sys::CACHE);
    mount_remount(sys::CACHE, MountFlags::empty(), c"")?;
    expect_errno(result?, Errno::ROFS, "bind to a read-only filesystem")?;
    try_bind(ctx, sys::CACHE)?.context("bind once it is writable")
}

fn bind_to_an_id_mapped_mount_is_refused_with_einval(ctx: &Context) -> Result<()> {
    let (actor, namespace) = Actor::user_namespace(100_000)?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(rustix::fs::CWD, sys::CACHE, clone).context("open_tree")?;
    raw::map_ids_of_mount(&tree, &namespace).context("mount_setattr")?;
    let point = ctx.mount_point("mapped");
    fs::create_dir_all(&point)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, "", rustix::fs::CWD, &point, flags).context("move_mount")?;
    let result = try_bind(ctx, point.to_str().context("a path that is no text")?);
    sys::unmount_patiently(&point, crate::task::soon())?;
    actor.kill()?;
    expect_errno(result?, Errno::INVAL, "bind to an id-mapped mount")
}

fn bind_creates_the_store_and_the_graveyard(ctx: &Context) -> Result<()> {
    let device = ctx.bound_device()?;
    for name in ["cache", "graveyard"] {
        let path = Path::new(sys::CACHE).join(name);
        let metadata =
            fs::metadata(&path).with_context(|| format!("looking at {}", path.display()))?;
        ensure!(metadata.is_dir(), "{} is no directory", path.display());
        let mode = metadata.permissions().mode() & 0o7777;
        ensure!(mode == 0o700, "{} has mode {mode:o}", path.display());
    }
    drop(device);
    // An existing store is taken over.
    ctx.bound_device().map(drop)
}

fn directories_of_a_bound_cache_are_in_use_by_the_kernel(ctx: &Context) -> Result<()> {
    let device = ctx.bound_device()?;
    for name in ["cache", "graveyard"] {
        let path = Path::new(sys::CACHE).join(name);
        crate::context::expect_io_errno(
            fs::remove_dir(&path),
            Errno::BUSY,
            "rmdir of a bound cache",
        )?;
    }
    drop(device);
    for name in ["cache", "graveyard"] {
        fs::remove_dir(Path::new(sys::CACHE).join(name)).context("rmdir after unbinding")?;
    }
    Ok(())
}

fn bind_and_unbind_are_logged(ctx: &Context) -> Result<()> {
    let mut log = KernelLog::from_now()?;
    drop(ctx.bound_device()?);
    let lines = log.lines()?;
    for end in [
        format!("File cache on {TAG} registered"),
        format!("File cache on {TAG} unregistering"),
    ] {
        ensure!(
            lines
                .iter()
                .any(|line| line.starts_with("CacheFiles: ") && line.ends_with(&end)),
            "no line {end:?} in {lines:?}"
        );
    }
    Ok(())
}

fn bind_without_an_argument_selects_the_caching_mode_or_is_refused(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    device.command("dir /cache")?;
    match device.command("bind") {
        Err(Errno::OPNOTSUPP) if ctx.module() == Module::Rust => {
            // Not there yet; the device must stay good for the other mode.
            device
                .command("bind ondemand")
                .context("bind ondemand after a refused bind")
        }
        Err(errno) => anyhow::bail!("bind: {errno:?}"),
        Ok(()) => caching_mode_reports_its_state(&device),
    }
}

fn caching_mode_reports_its_state(device: &Device) -> Result<()> {
    expect_errno(
        device.command("restore"),
        Errno::OPNOTSUPP,
        "restore in the caching mode",
    )?;
    expect_errno(
        device.command("copen 1,1"),
        Errno::OPNOTSUPP,
        "copen in the caching mode",
    )?;
    let mut buffer = [0; 256];
    expect_errno(
        rustix::io::read(device, &mut buffer[..20]),
        Errno::MSGSIZE,
        "a short read",
    )?;
    let length = rustix::io::read(device, &mut buffer)?;
    let state = std::str::from_utf8(&buffer[..length])?;
    let names: Vec<&str> = state
        .split(' ')
        .filter_map(|field| field.split('=').next())
        .collect();
    let expected = [
        "cull",
        "frun",
        "fcull",
        "fstop",
        "brun",
        "bcull",
        "bstop",
        "freleased",
        "breleased",
    ];
    ensure!(names == expected, "the state is {state:?}");
    Ok(())
}

fn cache_can_be_bound_over_and_over(ctx: &Context) -> Result<()> {
    for _ in 0..10 {
        let device = ctx.bound_device()?;
        ensure!(
            sys::module_references()? > 0,
            "a bound cache does not pin the module"
        );
        expect_errno(
            sys::remove_module(),
            Errno::AGAIN,
            "removing the module of a bound cache",
        )?;
        drop(device);
    }
    Ok(())
}
