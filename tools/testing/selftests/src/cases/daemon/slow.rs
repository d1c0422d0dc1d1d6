// SPDX-License-Identifier: GPL-2.0
//! A source that does not answer in time.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;
use rustix::mount::{MountFlags, mount};

use super::program::{Daemon, blob_dir, check, put, unmount};
use crate::bad_disk::{BadDisk, Speed};
use crate::context::{Context, expect_io_errno};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::Mount;
use crate::task::soon;

pub const TESTS: &[Test] = &[test!(
    daemon_fails_reads_whose_source_does_not_answer,
    "U11: readers wait for a source for as long as was said, and others do not wait for it"
)
.limit(240)];

/// How long the source's disk takes for each access, and how long the daemon waits, in seconds.
const LATENCY: Duration = Duration::from_secs(2);
const DEADLINE: &str = "1";

fn image(seed: u32, key: &str) -> Image {
    Builder::new()
        .device(key)
        .chunked("file", pattern(seed, 16 * BLOCK), 16, &[Some(1)])
        .build()
}

/// A directory with a file whose every access takes long, on an EROFS that nobody serves.
fn slow_directory(ctx: &Context, blob: &[u8]) -> Result<Mount> {
    let disk = BadDisk::new(4, Speed::Slow(LATENCY))?;
    let image = Builder::new().plain("slow", blob.to_vec()).build();
    let mut device = File::options().write(true).open(disk.path())?;
    device
        .write_all(&image.primary)
        .context("writing the source")?;
    device.sync_all().context("writing the source")?;
    let target = ctx.work.join("source");
    fs::create_dir_all(&target)?;
    mount(disk.path(), &target, c"erofs", MountFlags::RDONLY, None)
        .context("mounting the source")?;
    Ok(Mount::at(target))
}

fn daemon_fails_reads_whose_source_does_not_answer(ctx: &Context) -> Result<()> {
    let (slow, fast) = (image(1, "slow"), image(2, "fast"));
    put(ctx, "slow-image", &slow)?;
    put(ctx, "fast-image", &fast)?;
    let source = slow_directory(ctx, &slow.blobs[0].1)?;
    fs::remove_file(blob_dir(ctx).join("slow"))?;
    symlink(source.file("slow"), blob_dir(ctx).join("slow"))?;
    // What the daemon asks before it answers an OPEN; with a digest it reads nothing for that.
    fs::metadata(source.file("slow")).context("looking at the source")?;
    fs::write(blob_dir(ctx).join("slow.sha256"), "0".repeat(64))?;

    let arguments = ["--fetch-deadline", DEADLINE, "--threads", "2"];
    let daemon = Daemon::start(ctx, &arguments)?;
    let slow_mount = daemon.mount(ctx, "slow-image")?;
    let fast_mount = daemon.mount(ctx, "fast-image")?;
    let hanging = crate::task::read_in_background(&slow_mount.file("file"));
    // On a busy machine this one may take too long for the deadline as well, but not each time.
    let file = fast_mount.file("file");
    crate::sys::wait_for("the other blob", soon(), || fs::read(&file).is_ok())?;
    check(&fast_mount, "file", &fast.files["file"])?;
    let read = hanging.finish_within(2 * soon())?;
    expect_io_errno(read, Errno::IO, "reading what does not come")?;
    let said = daemon.lines_with(&["giving up on a READ", "slow", "did not answer in time"]);
    ensure!(said.len() == 1, "it says: {}", daemon.log());
    // The source answers in the end, and what came late is used.
    let file = slow_mount.file("file");
    crate::sys::wait_for("the late data", 3 * soon(), || fs::read(&file).is_ok())?;
    check(&slow_mount, "file", &slow.files["file"])?;
    unmount(slow_mount)?;
    unmount(fast_mount)?;
    daemon.stop()?;
    unmount(source)
}
