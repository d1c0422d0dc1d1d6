// SPDX-License-Identifier: GPL-2.0
//! Whom an error costs what: the file, the command or the cache, and how its end is made known.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{AlignedBuffer, Device, Errno, key_path};
use rustix::event::PollFlags;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::module::Injection;
use super::original::world::{command_at, polls, polls_within};
use crate::context::{Context, expect_errno, expect_no_cache};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::Session;
use crate::sys;

pub const TESTS: &[Test] = &[
    test!(
        injected_eio_fails_what_is_read_and_spares_the_cache,
        "FAULTS 12: an error of one file stays with it"
    )
    .c_fails("the whole cache dies of it"),
    test!(
        something_mounted_in_the_place_of_a_file_costs_that_object_only,
        "D10: one odd entry leaves all other images readable"
    )
    .c_fails("the whole cache dies of it"),
    test!(
        something_mounted_on_what_is_culled_spares_the_cache,
        "D10: what cannot be moved away stays where it is"
    )
    .c_fails("the whole cache dies of it"),
    test!(
        cache_whose_graveyard_is_in_what_is_culled_dies_and_commands_get_eio,
        "the cache dies of its own errors, and says so"
    )
    .c_fails("the directory stays marked as in use"),
    test!(
        dead_cache_polls_err_and_a_read_of_it_gets_eio,
        "FAULTS 12: a daemon that waits learns that nothing will come"
    )
    .c_fails("poll says nothing, and a read 0"),
    test!(
        cull_and_inuse_outside_the_cache_are_refused_with_exdev,
        "FAULTS 13: nothing is removed that is not the cache's"
    )
    .c_fails("they work on any directory"),
    test!(
        new_file_has_its_name_while_it_is_in_use,
        "FAULTS 17: what was fetched outlives a power cut"
    )
    .c_fails("it gets its name when it is put away"),
    test!(
        file_without_its_attribute_is_replaced,
        "a file that says nothing of itself is not in the way for ever"
    )
    .c_fails("nothing is cached under this name any more"),
    test!(
        volume_without_its_attribute_is_replaced,
        "WALK 4: a directory that was made, and got no attribute, is not in the way for ever"
    )
    .c_fails("nothing is cached in this volume any more"),
];

const FSID: &str = "policy";

fn image() -> Image {
    Builder::new()
        .device("blob")
        .chunked("file", pattern(1, 8 * BLOCK), 8, &[Some(1)])
        .build()
}

fn options() -> String {
    format!("fsid={FSID}")
}

/// Mounts the image, checks it, and unmounts it.
fn use_once(ctx: &Context, session: &mut Session) -> Result<()> {
    let mount = session.mount(&ctx.mount_point(FSID), options())?;
    session.check_files(&mount, &image())?;
    session.unmount(mount)
}

fn blob_path() -> std::path::PathBuf {
    Path::new(sys::CACHE).join(key_path(format!("erofs,{FSID}").as_bytes(), b"blob"))
}

fn injected_eio_fails_what_is_read_and_spares_the_cache(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    let mount = session.mount(&ctx.mount_point(FSID), options())?;
    let page = AlignedBuffer::new(BLOCK);
    let injection = Injection::start("2")?;
    let written = session.object_of(b"blob")?.1.fd.write_at(&page, 0);
    expect_errno(written, Errno::IO, "a write with EIO injected")?;
    session.unmount(mount)?;
    session.settle()?;
    for attempt in 0..3 {
        let refused = session.try_mount(&ctx.mount_point(FSID), options().as_bytes())?;
        ensure!(
            refused.is_err(),
            "attempt {attempt}: mounted over a disk that gives errors"
        );
    }
    drop(injection);
    session
        .device
        .command("debug 0")
        .context("the cache died")?;
    use_once(ctx, &mut session).context("when the disk is well again")?;
    session.settle()
}

/// Does something while a file system is mounted on a directory.
fn covered<T>(dir: &Path, call: impl FnOnce() -> Result<T>) -> Result<T> {
    mount(
        "none",
        dir,
        "tmpfs",
        MountFlags::empty(),
        None::<&std::ffi::CStr>,
    )?;
    let result = call();
    unmount(dir, UnmountFlags::DETACH)?;
    result
}

fn volume_path() -> Result<std::path::PathBuf> {
    let volume = blob_path().ancestors().nth(2).map(Path::to_owned);
    volume.context("a file outside of volumes")
}

fn something_mounted_in_the_place_of_a_file_costs_that_object_only(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    let other = Builder::new().plain("file", pattern(2, BLOCK)).build();
    session
        .blobs
        .insert(b"other".to_vec(), other.primary.clone().into());
    use_once(ctx, &mut session)?;
    session.settle()?;
    let primary = key_path(format!("erofs,{FSID}").as_bytes(), FSID.as_bytes());
    let primary = Path::new(sys::CACHE).join(primary);
    fs::remove_file(&primary)?;
    fs::create_dir(&primary)?;
    covered(&primary, || {
        let refused = session.try_mount(&ctx.mount_point(FSID), options().as_bytes())?;
        expect_no_cache(refused.map(drop), "mount of what is mounted on")?;
        session.settle()?;
        let mount = session.mount(&ctx.mount_point("other"), "fsid=other")?;
        session.check_files(&mount, &other)?;
        session.unmount(mount)
    })?;
    session
        .device
        .command("debug 0")
        .context("the cache died")?;
    use_once(ctx, &mut session).context("once it can be moved away")?;
    session.settle()
}

fn something_mounted_on_what_is_culled_spares_the_cache(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    use_once(ctx, &mut session)?;
    session.settle()?;
    let volume = volume_path()?;
    let culled = covered(&volume, || command_at(&session.device, &volume, "cull"))?;
    expect_errno(culled, Errno::IO, "cull of what is mounted on")?;
    use_once(ctx, &mut session).context("of the volume that stayed")?;
    session.settle()?;
    command_at(&session.device, &volume, "cull")?.context("once nothing is mounted on it")
}

/// Ends the cache by an error of its own: somebody moved the graveyard into what is to be buried.
fn end_cache(ctx: &Context, session: &mut Session) -> Result<()> {
    use_once(ctx, session)?;
    session.settle()?;
    let volume = volume_path()?;
    let place = Path::new(sys::CACHE).join("graveyard");
    let inside = volume.join("graveyard");
    fs::rename(&place, &inside)?;
    let culled = command_at(&session.device, &volume, "cull");
    fs::rename(&inside, &place)?;
    expect_errno(culled?, Errno::IO, "cull of what the graveyard is in")
}

fn cache_whose_graveyard_is_in_what_is_culled_dies_and_commands_get_eio(
    ctx: &Context,
) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    end_cache(ctx, &mut session)?;
    for command in ["restore", "nonsense", "tag x", ""] {
        expect_errno(session.device.command(command), Errno::IO, command)?;
    }
    drop(session);
    let mut session = ctx.session(FSID, &image())?;
    use_once(ctx, &mut session).context("under the next daemon")?;
    session.settle()
}

fn dead_cache_polls_err_and_a_read_of_it_gets_eio(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    let alive = polls(&session.device)?;
    ensure!(
        !alive.contains(PollFlags::ERR),
        "a cache that is alive polls {alive:?}"
    );
    end_cache(ctx, &mut session)?;
    let seen = polls_within(&session.device, PollFlags::IN, Duration::from_secs(2))?;
    ensure!(
        seen.contains(PollFlags::IN | PollFlags::ERR),
        "it polls {seen:?}"
    );
    let read = rustix::io::read(&*session.device, &mut [0; 4096]);
    expect_errno(read, Errno::IO, "a read")
}

fn refused(device: &Device, path: &Path) -> Result<()> {
    for verb in ["inuse", "cull"] {
        expect_errno(
            command_at(device, path, verb)?,
            Errno::XDEV,
            &format!("{verb} {}", path.display()),
        )?;
        ensure!(path.exists(), "{verb} removed {}", path.display());
    }
    Ok(())
}

fn cull_and_inuse_outside_the_cache_are_refused_with_exdev(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    use_once(ctx, &mut session)?;
    session.settle()?;
    let cache = Path::new(sys::CACHE);
    let elsewhere = ctx.mount_point("elsewhere");
    fs::create_dir_all(&elsewhere)?;
    for dir in [cache, &cache.join("graveyard"), &elsewhere] {
        let (file, sub) = (dir.join("file"), dir.join("dir"));
        fs::write(&file, "x")?;
        fs::create_dir(&sub)?;
        refused(&session.device, &file)?;
        refused(&session.device, &sub)?;
        fs::remove_file(file)?;
        fs::remove_dir(sub)?;
    }
    refused(&session.device, &cache.join("cache"))?;
    command_at(&session.device, &blob_path(), "cull")?.context("inside the cache")
}

fn new_file_has_its_name_while_it_is_in_use(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    let mount = session.mount(&ctx.mount_point(FSID), options())?;
    session.check_files(&mount, &image())?;
    ensure!(
        blob_path().exists(),
        "{} has no name yet",
        blob_path().display()
    );
    expect_errno(
        command_at(&session.device, &blob_path(), "cull")?,
        Errno::BUSY,
        "cull of what is in use",
    )?;
    session.unmount(mount)?;
    session.settle()
}

fn volume_without_its_attribute_is_replaced(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    use_once(ctx, &mut session)?;
    session.settle()?;
    let path = blob_path();
    let volume = path.parent().and_then(std::path::Path::parent);
    let volume = volume.context("a file outside of volumes")?;
    rustix::fs::removexattr(volume, "user.CacheFiles.cache")?;
    for _ in 0..2 {
        use_once(ctx, &mut session)?;
        session.settle()?;
    }
    Ok(())
}

fn file_without_its_attribute_is_replaced(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    use_once(ctx, &mut session)?;
    session.settle()?;
    rustix::fs::removexattr(blob_path(), "user.CacheFiles.cache")?;
    for _ in 0..2 {
        use_once(ctx, &mut session)?;
        session.settle()?;
    }
    Ok(())
}
