// SPDX-License-Identifier: GPL-2.0
//! Mounts that cannot work: they fail at once, and leave nothing behind.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::mount::over_devices;
use crate::context::{Context, expect_no_cache};
use crate::image::{BLOCK, Builder, pattern};
use crate::registry::{Test, test};
use crate::session::Session;

pub const TESTS: &[Test] = &[
    test!(mount_without_a_cache_fails, "no cache, no hang"),
    test!(
        missing_primary_blob_fails_the_mount,
        "a blob that the daemon does not have is an error at once"
    ),
    test!(
        missing_device_blob_fails_the_mount,
        "a device that the daemon does not have is an error at once"
    ),
    test!(
        failed_mount_can_be_repeated_once_the_blob_is_there,
        "a failure leaves nothing behind"
    ),
];

fn mount_without_a_cache_fails(ctx: &Context) -> Result<()> {
    let session = Session::new(Arc::new(ctx.device()?), Default::default());
    let mount = session.mount_in_background(&ctx.mount_point("none"), "fsid=none")?;
    ensure!(
        mount.finish()?.is_err(),
        "a mount without a cache succeeded"
    );
    Ok(())
}

fn missing_primary_blob_fails_the_mount(ctx: &Context) -> Result<()> {
    let mut session = Session::new(ctx.bound_device()?, Default::default());
    let result = session.try_mount(&ctx.mount_point("missing"), b"fsid=missing")?;
    expect_no_cache(result, "mount of a blob that is not there")?;
    ensure!(
        session.log.opens.len() == 1,
        "OPENs: {:?}",
        session.log.opens
    );
    session.settle()
}

fn missing_device_blob_fails_the_mount(ctx: &Context) -> Result<()> {
    let image = over_devices(&["there", "missing"]);
    let mut session = ctx.session("parts", &image)?;
    session.blobs.remove(&b"missing"[..]);
    let result = session.try_mount(&ctx.mount_point("parts"), b"fsid=parts")?;
    match result {
        Err(_) => {}
        // The kernel may look at a device only when a file on it is read.
        Ok(mount) => {
            let read = crate::task::read_in_background(&mount.file("last"));
            session.pump_until("the read to return", |_| read.is_done())?;
            ensure!(
                read.finish()?.is_err(),
                "a file on a missing device can be read"
            );
            session.unmount(mount)?;
        }
    }
    session.settle()
}

fn failed_mount_can_be_repeated_once_the_blob_is_there(ctx: &Context) -> Result<()> {
    let image = Builder::new().plain("file", pattern(1, BLOCK)).build();
    let mut session = ctx.session("later", &image)?;
    let blobs = std::mem::take(&mut session.blobs);
    for _ in 0..2 {
        let result = session.try_mount(&ctx.mount_point("later"), b"fsid=later")?;
        expect_no_cache(result, "mount of a blob that is not there")?;
    }
    session.blobs = blobs;
    let mount = session.mount(&ctx.mount_point("later"), "fsid=later")?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)
}
