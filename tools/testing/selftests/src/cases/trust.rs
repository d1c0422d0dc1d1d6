// SPDX-License-Identifier: GPL-2.0
//! When a file gets its name: at once where the file system is trusted with a part of a file, else
//! when it is put away, as with the C module. What else the cache does is the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::key_path;
use rustix::mount::{MountFlags, mount, mount_remount};

use crate::bad_disk::{BadDisk, Speed};
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::kmsg::KernelLog;
use crate::registry::{CacheFs, Test, test};
use crate::session::{Session, blobs_of};
use crate::sys;

const OF_EXT4: &[(CacheFs, &str)] = &[
    (CacheFs::Xfs, "it is an option of ext4's"),
    (CacheFs::Btrfs, "it is an option of ext4's"),
];

pub const TESTS: &[Test] = &[
    test!(
        file_is_named_late_on_a_file_system_without_barriers,
        "issue 16: what counts as data after a power cut is data"
    )
    .not_on(OF_EXT4),
    test!(
        file_is_named_late_on_ext4_without_a_journal,
        "issue 16: what counts as data after a power cut is data"
    ),
    test!(
        file_is_named_late_on_overlayfs,
        "issue 16: a file system that nobody has looked at is not trusted"
    ),
    test!(
        bind_says_whether_the_file_system_is_trusted,
        "the administrator learns what a power cut costs"
    )
    .c_fails("it says nothing"),
];

const FSID: &str = "trust";

fn image() -> Image {
    Builder::new()
        .device("blob")
        .chunked("file", pattern(1, 8 * BLOCK), 8, &[Some(1)])
        .build()
}

fn options() -> String {
    format!("fsid={FSID}")
}

fn blob_path() -> PathBuf {
    Path::new(sys::CACHE).join(key_path(format!("erofs,{FSID}").as_bytes(), b"blob"))
}

/// An image is read while its file has no name, over the death of the daemon; the file gets its
/// name at the end, and is used the next time.
fn is_named_late(ctx: &Context) -> Result<()> {
    let mut session = ctx.session(FSID, &image())?;
    let mount = session.mount(&ctx.mount_point(FSID), options())?;
    let path = mount.file("file");
    session.look_up(&path)?;
    session.crash();
    session.check_files(&mount, &image())?;
    ensure!(
        !blob_path().exists(),
        "{} has its name already",
        blob_path().display()
    );
    session.unmount(mount)?;
    session.settle()?;
    ensure!(blob_path().exists(), "the file got no name");
    drop(session);

    let mut session = Session::new(ctx.bound_device()?, blobs_of(FSID, &image()));
    let mount = session.mount(&ctx.mount_point(FSID), options())?;
    session.check_files(&mount, &image())?;
    ensure!(
        session.log.reads.is_empty(),
        "{} READs of what is cached",
        session.log.reads.len()
    );
    session.unmount(mount)?;
    session.settle()
}

fn file_is_named_late_on_a_file_system_without_barriers(ctx: &Context) -> Result<()> {
    mount_remount(sys::CACHE, MountFlags::empty(), c"nobarrier")?;
    let result = is_named_late(ctx);
    mount_remount(sys::CACHE, MountFlags::empty(), c"barrier")?;
    result
}

fn file_is_named_late_on_ext4_without_a_journal(ctx: &Context) -> Result<()> {
    let disk = BadDisk::new(64, Speed::Fast)?;
    disk.mount_as_cache_with(4096, &["-O", "^has_journal"])?;
    is_named_late(ctx)
}

fn file_is_named_late_on_overlayfs(ctx: &Context) -> Result<()> {
    let parts = ctx.work.join("parts");
    fs::create_dir_all(&parts)?;
    mount("none", &parts, c"tmpfs", MountFlags::empty(), None)?;
    for part in ["lower", "upper", "work"] {
        fs::create_dir(parts.join(part))?;
    }
    let place = parts.display();
    let data = format!("lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work");
    let data = std::ffi::CString::new(data)?;
    mount(
        "none",
        sys::CACHE,
        c"overlay",
        MountFlags::empty(),
        Some(data.as_c_str()),
    )
    .context("mounting overlayfs")?;
    let result = is_named_late(ctx);
    sys::unmount_patiently(Path::new(sys::CACHE), crate::task::soon())?;
    sys::unmount_patiently(&parts, crate::task::soon())?;
    result
}

fn bind_says_whether_the_file_system_is_trusted(ctx: &Context) -> Result<()> {
    let mut log = KernelLog::from_now()?;
    let device: Arc<_> = ctx.bound_device()?;
    let lines = log.lines()?;
    ensure!(
        lines
            .iter()
            .any(|line| line.contains("what is fetched is kept over a power cut")),
        "the log has no word of it: {lines:?}"
    );
    drop(device);
    Ok(())
}
