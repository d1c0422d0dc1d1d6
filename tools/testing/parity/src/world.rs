// SPDX-License-Identifier: GPL-2.0
//! What several probes need: caches in both modes, an image and its daemon, directories to bind.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::context::{Context, TAG};
use cachefiles_harness::image::{BLOCK, Builder, Image, pattern};
use cachefiles_harness::session::{Mount, Session};
use cachefiles_harness::{sys, task};
use cachefiles_protocol::{Device, Errno, key_path};
use rustix::mount::{MountFlags, mount};

/// The two modes, by what is written after `bind`.
pub const MODES: [(&str, &str); 2] = [("original", "bind"), ("ondemand", "bind ondemand")];

/// The file system id of the probes' image.
pub const FSID: &str = "parity";

/// An image with one file, whose data lies in a blob of its own.
pub fn image() -> Image {
    Builder::new()
        .device("blob")
        .chunked("file", pattern(1, 8 * BLOCK), 8, &[Some(1)])
        .build()
}

/// An open device that was given these commands, all of which must be taken.
pub fn device_with(ctx: &Context, commands: &[&str]) -> Result<Device> {
    let device = ctx.device()?;
    for command in commands {
        device.command(command).context((*command).to_owned())?;
    }
    Ok(device)
}

/// A cache in the given mode on the cache disk.
pub fn bound(ctx: &Context, bind: &str) -> Result<Arc<Device>> {
    let dir = format!("dir {}", sys::CACHE);
    let tag = format!("tag {TAG}");
    device_with(ctx, &[&dir, &tag, bind]).map(Arc::new)
}

/// What binding a directory says.
pub fn try_bind(ctx: &Context, dir: &str, bind: &str) -> Result<Result<(), Errno>> {
    let device = device_with(ctx, &[&format!("dir {dir}")])?;
    Ok(device.command(bind))
}

/// A daemon that serves the image, and its mount.
pub fn mounted(ctx: &Context) -> Result<(Session, Mount)> {
    let mut session = ctx.session(FSID, &image())?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    Ok((session, mount))
}

/// An on-demand cache that has the whole image, unmounted.
pub fn filled(ctx: &Context) -> Result<Session> {
    let (mut session, mount) = mounted(ctx)?;
    session.check_files(&mount, &image())?;
    unmount(&mut session, mount)?;
    session.log = Default::default();
    Ok(session)
}

/// Unmounts, and waits until netfs has let go of everything.
pub fn unmount(session: &mut Session, mount: Mount) -> Result<()> {
    session.unmount(mount)?;
    session.settle()
}

/// The cache file of the image's blob.
pub fn blob_path() -> PathBuf {
    Path::new(sys::CACHE).join(key_path(format!("erofs,{FSID}").as_bytes(), b"blob"))
}

/// Does something with `dir` as the working directory.
pub fn within<T>(dir: &Path, what: impl FnOnce() -> T) -> Result<T> {
    std::env::set_current_dir(dir).with_context(|| format!("going to {}", dir.display()))?;
    let result = what();
    std::env::set_current_dir("/")?;
    Ok(result)
}

/// A directory of this name, freshly made.
pub fn fresh_dir(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
    Ok(path.to_owned())
}

/// The sysctl that makes reads and writes of the cache fail.
pub const INJECTION: &str = "/proc/sys/cachefiles/error_injection";

/// Does something while errors are injected: 1 is ENOSPC, 2 is EIO.
pub fn injecting<T>(value: &str, what: impl FnOnce() -> T) -> Result<T> {
    fs::write(INJECTION, value).context("switching error injection on")?;
    let result = what();
    fs::write(INJECTION, "0").context("switching error injection off")?;
    Ok(result)
}

/// Makes a bound cache die: of an error when a directory is renamed, or of one that has something
/// mounted on it. Of the latter the C module would leave a mark that lasts, and ours does not
/// always die of the first.
pub fn kill(device: &Device) -> Result<()> {
    fail_to_cull(device)?;
    if device.command("debug 0") == Err(Errno::IO) {
        return Ok(());
    }
    let dir = fresh_dir(Path::new(sys::CACHE).join("cache/mount-point"))?;
    let parent = dir.parent().context("no parent")?;
    mount("none", &dir, c"tmpfs", MountFlags::empty(), None)?;
    let culled = within(parent, || device.command("cull mount-point"))?;
    sys::unmount_patiently(&dir, task::soon())?;
    ensure!(culled == Err(Errno::IO), "cull says {culled:?}");
    Ok(())
}

/// Has the renaming of a culled directory fail with EIO.
pub fn fail_to_cull(device: &Device) -> Result<()> {
    let dir = fresh_dir(Path::new(sys::CACHE).join("cache/victim"))?;
    let parent = dir.parent().context("no parent")?;
    // Whether the command itself fails is a row of its own.
    let _ = injecting("2", || within(parent, || device.command("cull victim")))??;
    Ok(())
}

/// Removes what a bound cache has stored, all clients having unmounted.
pub fn forget_volumes() -> Result<()> {
    for dir in ["cache", "graveyard"] {
        for entry in fs::read_dir(Path::new(sys::CACHE).join(dir))? {
            let path = entry?.path();
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}
