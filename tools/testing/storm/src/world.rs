// SPDX-License-Identifier: GPL-2.0
//! Module and mounts: set up, and taken away in the opposite order.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::system::{delete_module, finit_module};

use crate::StormArgs;

/// What `delete_module` takes instead of waiting: `O_NONBLOCK`.
const NON_BLOCKING: i32 = 0o4000;

/// How long something may stay busy after its last user has gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// Inserts the module with these parameters, unless it is there.
pub fn insert_module(path: &Path, parameters: &str) -> Result<()> {
    if Path::new("/sys/module/cachefiles").exists() {
        return Ok(());
    }
    let file =
        File::open(path).with_context(|| format!("cannot open the module {}", path.display()))?;
    let parameters = CString::new(parameters)?;
    finit_module(&file, &parameters, 0).with_context(|| {
        format!(
            "cannot insert {}: are netfs and erofs loaded? see the kernel log",
            path.display()
        )
    })
}

/// Removes the module again; that it can be removed shows that nothing holds it.
pub fn remove_module() -> Result<()> {
    patiently(|| delete_module(c"cachefiles", NON_BLOCKING))
        .context("cannot remove the module cachefiles")
}

/// Mounts the filesystem of the cache.
pub fn mount_cache(args: &StormArgs) -> Result<()> {
    std::fs::create_dir_all(&args.cache_dir)
        .with_context(|| format!("cannot create {}", args.cache_dir.display()))?;
    mount(
        &args.cache_dev,
        &args.cache_dir,
        "ext4",
        MountFlags::empty(),
        None,
    )
    .with_context(|| {
        format!(
            "cannot mount {} as ext4 at {}",
            args.cache_dev.display(),
            args.cache_dir.display()
        )
    })
}

/// Deletes what is cached, so that reading starts cold. No daemon may be running.
pub fn wipe_cache(args: &StormArgs) -> Result<()> {
    for name in ["cache", "graveyard"] {
        let path = args.cache_dir.join(name);
        match std::fs::remove_dir_all(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot delete {}", path.display()));
            }
        }
    }
    Ok(())
}

/// Mounts the image. Blocks while the daemon opens its blobs.
pub fn mount_image(args: &StormArgs) -> Result<()> {
    std::fs::create_dir_all(&args.mount_point)
        .with_context(|| format!("cannot create {}", args.mount_point.display()))?;
    let options = image_options(args);
    let data = CString::new(options.as_str()).context("NUL in a mount option")?;
    mount(
        "none",
        &args.mount_point,
        "erofs",
        MountFlags::RDONLY,
        data.as_c_str(),
    )
    .with_context(|| {
        format!("cannot mount the image with the options {options}; see the kernel log")
    })
}

fn image_options(args: &StormArgs) -> String {
    let mut options = format!("fsid={}", args.fsid);
    for device in &args.devices {
        options.push_str(",device=");
        options.push_str(device);
    }
    if let Some(domain) = &args.domain_id {
        options.push_str(",domain_id=");
        options.push_str(domain);
    }
    options
}

/// Unmounts, and waits for users that are just leaving.
pub fn unmount_at(path: &Path) -> Result<()> {
    patiently(|| unmount(path, UnmountFlags::empty()))
        .with_context(|| format!("cannot unmount {}", path.display()))
}

/// After a failure: detaches what is mounted, whoever uses it.
pub fn detach(path: &Path) {
    // Fails if nothing is mounted there, which is as good.
    let _ = unmount(path, UnmountFlags::DETACH);
}

/// Tries again while the kernel says that something is busy.
fn patiently(mut operation: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match operation() {
            Err(Errno::BUSY | Errno::AGAIN) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}
