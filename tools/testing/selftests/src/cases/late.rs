// SPDX-License-Identifier: GPL-2.0
//! Reads of a cache file that fail after they were begun, in on-demand mode: there is no other
//! source.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Errno, key_path};

use super::object_fd::image;
use super::original::world::drop_caches;
use crate::bad_disk::{BadDisk, Speed};
use crate::context::{Context, expect_io_errno};
use crate::image::BLOCK;
use crate::registry::{CacheFs, Test, test};
use crate::sys;

pub const TESTS: &[Test] = &[test!(
    on_demand_read_that_fails_late_is_an_error_and_costs_nothing_else,
    "a bad sector is an error of who reads it, for as long as it is bad"
)
.not_on(&[
    (CacheFs::Xfs, "the bad disk has an ext4"),
    (CacheFs::Btrfs, "the bad disk has an ext4"),
])];

const FSID: &str = "late";

fn on_demand_read_that_fails_late_is_an_error_and_costs_nothing_else(ctx: &Context) -> Result<()> {
    let disk = BadDisk::new(64, Speed::Fast)?;
    disk.mount_as_cache()?;
    let image = image();
    let mut session = ctx.session(FSID, &image)?;
    let point = ctx.mount_point(FSID);
    let mount = session.mount(&point, format!("fsid={FSID}"))?;
    session.check_files(&mount, &image)?;
    // The file may get its name at the end of its first use only.
    session.unmount(mount)?;
    session.settle()?;
    let mount = session.mount(&point, format!("fsid={FSID}"))?;
    session.check_files(&mount, &image)?;
    let path = Path::new(sys::CACHE).join(key_path(format!("erofs,{FSID}").as_bytes(), b"blob"));
    let bad = 2 * BLOCK as u64..4 * BLOCK as u64;
    let reads = session.log.reads.len();
    for round in 0..3 {
        disk.spoil(&path, bad.clone())?;
        drop_caches(false)?;
        let file = mount.file("file");
        let read = std::fs::read(&file);
        expect_io_errno(read, Errno::IO, &format!("round {round}: bad sectors"))?;
        disk.mend(&path, bad.clone())?;
        drop_caches(false)?;
        session
            .check_files(&mount, &image)
            .with_context(|| format!("round {round}: mended"))?;
    }
    ensure!(
        session.log.reads.len() == reads,
        "what is there was asked for again: {:?}",
        &session.log.reads[reads..]
    );
    session.unmount(mount)?;
    session.settle()
}
