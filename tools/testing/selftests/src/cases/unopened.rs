// SPDX-License-Identifier: GPL-2.0
//! Devices of an image that the daemon does not open: the image is mounted all the same, as EROFS
//! does not look at them before somebody reads what is there.
//!
//! A read of a compressed file there may not end as one that does not begin: EROFS uses a bio then
//! that it has freed, which only shows in a kernel that poisons what is freed.

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;

use crate::context::{Context, expect_io_errno};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::lz4::compressible;
use crate::registry::{Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::share::drop_caches;
use crate::sys;
use crate::task::read_in_background;

const C_CRASHES: &str = "EROFS uses a freed bio where a read of a compressed image cannot begin";

pub const TESTS: &[Test] = &[
    test!(
        refused_device_fails_its_reads_with_enobufs,
        "an image is mounted without all of its devices, and what is there fails"
    ),
    test!(
        refused_device_fails_reads_of_any_image,
        "D1: a read of a device whose OPEN was refused is told once"
    )
    .c_skips(C_CRASHES)
    .limit(120),
    test!(
        device_that_no_daemon_opens_fails_reads_of_any_image,
        "D1: a read of a device whose OPEN nobody answered is told once"
    )
    .c_skips(C_CRASHES)
    .limit(120),
];

const FSID: &str = "unopened";
const DEVICE: &str = "blob-unopened";

/// A file on the device and one beside it. With `packed` another two that are compressed.
fn image(packed: bool) -> Image {
    let builder = Builder::new()
        .device(DEVICE)
        .plain("here", pattern(1, 9 * BLOCK))
        .chunked("there", pattern(2, 9 * BLOCK), 1, &[Some(1)]);
    if !packed {
        return builder.build();
    }
    builder
        .compressed("packed-here", compressible(3, 40 * BLOCK))
        .compressed_on(1, "packed-there", compressible(4, 40 * BLOCK))
        .build()
}

/// A daemon that knows all of the image but its device.
fn without_the_device(ctx: &Context, image: &Image) -> Result<Session> {
    let mut blobs = blobs_of(FSID, image);
    blobs.remove(DEVICE.as_bytes());
    Ok(Session::new(ctx.bound_device()?, blobs))
}

fn fails(session: &mut Session, mount: &Mount, name: &str, errno: Errno) -> Result<()> {
    let reader = read_in_background(&mount.file(name));
    session.pump_until("the reader to end", |_| reader.is_done())?;
    expect_io_errno(reader.finish()?, errno, name)
}

/// What is on the device fails, and the rest does not.
fn is_without_the_device(session: &mut Session, mount: &Mount, image: &Image) -> Result<()> {
    for _ in 0..5 {
        for (name, data) in &image.files {
            match name.as_str() {
                "there" => fails(session, mount, name, Errno::NOBUFS)?,
                // A bio has a status of its own, which knows no more.
                "packed-there" => fails(session, mount, name, Errno::IO)?,
                _ => {
                    let seen = session.read_file(&mount.file(name))?;
                    ensure!(seen == *data, "{name} is wrong");
                }
            }
        }
        drop_caches()?;
    }
    Ok(())
}

/// Mounted anew by a daemon that has the device, all is there.
fn is_whole_afterwards(ctx: &Context, session: Session, image: &Image) -> Result<()> {
    drop(session);
    let mut session = ctx.session(FSID, image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.check_files(&mount, image).context("afterwards")?;
    session.unmount(mount)?;
    session.settle()
}

/// Whether a cookie is just being looked up. One that was looked up in vain is quiescent with the C
/// module, as one that is new.
fn is_looked_up() -> bool {
    let states = sys::fscache_table("cookies").unwrap_or_default();
    let mut states = states.iter().map(|row| row.split_whitespace().nth(5));
    states.any(|state| matches!(state, Some("L" | "C")))
}

fn refuse_the_device(ctx: &Context, image: &Image) -> Result<()> {
    let mut session = without_the_device(ctx, image)?;
    let options = format!("fsid={FSID}");
    let mount = session.try_mount(&ctx.mount_point(FSID), options.as_bytes())?;
    let mount = mount.context("mounting")?;
    session.pump_until("the device to be refused", |session| {
        let is_asked = session
            .log
            .opens
            .iter()
            .any(|(_, _, key)| key == DEVICE.as_bytes());
        is_asked && !is_looked_up()
    })?;
    is_without_the_device(&mut session, &mount, image)?;
    let asked = session.log.opens.iter();
    let asked = asked.filter(|(_, _, key)| key == DEVICE.as_bytes()).count();
    ensure!(asked == 1, "the daemon was asked {asked} times");
    session.unmount(mount)?;
    session.settle()?;
    is_whole_afterwards(ctx, session, image)
}

fn refused_device_fails_its_reads_with_enobufs(ctx: &Context) -> Result<()> {
    refuse_the_device(ctx, &image(false))
}

fn refused_device_fails_reads_of_any_image(ctx: &Context) -> Result<()> {
    refuse_the_device(ctx, &image(true))
}

fn device_that_no_daemon_opens_fails_reads_of_any_image(ctx: &Context) -> Result<()> {
    let image = image(true);
    let mut session = ctx.session(FSID, &image)?;
    session.hold_opens = true;
    let task = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.pump_until("the first OPEN", |session| !session.held_opens.is_empty())?;
    let primary = session.held_opens.pop().context("no OPEN")?;
    session.answer_open(primary)?;
    session.pump_until("the mount, and the OPEN of the device", |session| {
        task.is_done() && !session.held_opens.is_empty()
    })?;
    let mount = task.finish()?.context("mounting")?;
    session.hold_opens = false;
    drop(session);
    // The next daemon has all of it, but the device is not looked up again.
    let mut session = ctx.session(FSID, &image)?;
    is_without_the_device(&mut session, &mount, &image)?;
    session.unmount(mount)?;
    session.settle()?;
    is_whole_afterwards(ctx, session, &image)
}
