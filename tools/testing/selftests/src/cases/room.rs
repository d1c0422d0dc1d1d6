// SPDX-License-Identifier: GPL-2.0
//! The room that the daemon may fill: counted to the block, at every moment.

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{AlignedBuffer, Errno};

use super::object_fd::{fd, image};
use super::original::filler::Filler;
use crate::context::{Context, TAG, expect_errno};
use crate::image::BLOCK;
use crate::registry::{CacheFs, Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::sys;

/// Where the disk cannot be filled to the block.
pub(super) const OTHERS: &[(CacheFs, &str)] = &[
    (CacheFs::Xfs, "it allocates ahead"),
    (CacheFs::Btrfs, "it takes blocks for what it does by itself"),
];

pub const TESTS: &[Test] = &[
    test!(
        room_above_the_stop_limit_is_filled_to_the_block,
        "the last block that is there may be taken, and not one more"
    )
    .not_on(OTHERS),
    test!(
        room_that_was_granted_is_gone_when_the_disk_fills_up,
        "what there was room for once there is no more when others took it"
    )
    .not_on(OTHERS),
    test!(
        room_is_not_granted_between_the_limits,
        "where it is short each write is measured"
    )
    .not_on(OTHERS),
];

const FSID: &str = "room";
const LIMITS: [&str; 3] = ["brun 60%", "bcull 40%", "bstop 20%"];

/// Blocks in so many percent of the disk.
fn percent(percent: u64) -> Result<u64> {
    Ok(rustix::fs::statvfs(sys::CACHE)?.f_blocks / 100 * percent)
}

/// A complete image in a cache with these limits, so that what is written takes no block.
fn complete(ctx: &Context) -> Result<(Session, Mount)> {
    let device = ctx.device()?;
    for limit in LIMITS {
        device.command(limit).context(limit)?;
    }
    device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))?;
    let mut session = Session::new(device.into(), blobs_of(FSID, &image()));
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.check_files(&mount, &image())?;
    Ok((session, mount))
}

/// Writes the first blocks of the blob once more.
fn rewrite(session: &Session, blocks: usize) -> Result<Result<(), Errno>> {
    let blob = &session.blobs[b"blob".as_slice()];
    let mut buffer = AlignedBuffer::new(blocks * BLOCK);
    buffer.copy_from_slice(&blob[..blocks * BLOCK]);
    Ok(fd(session)?.write_at(&buffer, 0))
}

fn finish(mut session: Session, mount: Mount) -> Result<()> {
    session.check_files(&mount, &image())?;
    session.unmount(mount)?;
    session.settle()
}

fn room_above_the_stop_limit_is_filled_to_the_block(ctx: &Context) -> Result<()> {
    let (session, mount) = complete(ctx)?;
    let filler = Filler::new()?;
    let stop = percent(20)?;
    for left in [1, 3] {
        filler.leave_blocks(stop + left)?;
        let left = usize::try_from(left)?;
        rewrite(&session, left)?.with_context(|| format!("{left} blocks where so many are"))?;
        let one_more = rewrite(&session, left + 1)?;
        expect_errno(
            one_more,
            Errno::NOBUFS,
            &format!("a block more than {left}"),
        )?;
    }
    filler.leave_blocks(stop)?;
    expect_errno(rewrite(&session, 1)?, Errno::NOBUFS, "at the limit")?;
    finish(session, mount)
}

fn room_that_was_granted_is_gone_when_the_disk_fills_up(ctx: &Context) -> Result<()> {
    let (session, mount) = complete(ctx)?;
    let filler = Filler::new()?;
    rewrite(&session, 1)?.context("with half of the disk free")?;
    filler.leave_blocks(percent(20)?)?;
    expect_errno(rewrite(&session, 1)?, Errno::NOBUFS, "on a full disk")?;
    finish(session, mount)
}

fn room_is_not_granted_between_the_limits(ctx: &Context) -> Result<()> {
    let (session, mount) = complete(ctx)?;
    let filler = Filler::new()?;
    filler.leave_blocks(percent(20)? + 1)?;
    // One after the other at once: what the first one is told must not hold for the second.
    let mut refused = 0;
    for _ in 0..100 {
        let first = rewrite(&session, 1)?;
        let second = rewrite(&session, 2)?;
        first.context("the block that is left")?;
        refused += usize::from(second == Err(Errno::NOBUFS));
    }
    ensure!(refused == 100, "of 100 writes {refused} were refused");
    finish(session, mount)
}
