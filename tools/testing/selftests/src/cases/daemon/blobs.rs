// SPDX-License-Identifier: GPL-2.0
//! Blobs that are not there, not whole, or other ones than before: an error, and never zeros or a
//! mixture.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::key_path;

use super::program::{Daemon, blob_dir, check, check_eio, put, run, unmount};
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::sys;
use crate::task::soon;

pub const TESTS: &[Test] = &[
    test!(
        daemon_blob_uploaded_in_part_is_an_error,
        "U1: what is not uploaded yet is never read as zeros"
    )
    .limit(60),
    test!(
        daemon_blob_corrected_later_is_refused_until_invalidated,
        "U2: two contents of one name are never mixed, and there is a way out"
    )
    .limit(60),
    test!(
        daemon_blob_truncated_while_served_is_an_error,
        "U3: what was cut off is never read as zeros"
    )
    .limit(60),
    test!(
        daemon_verifies_what_is_cached_and_removes_what_is_wrong,
        "a disk that lies, or whoever wrote to the cache, is found out, and the blob fetched again"
    )
    .limit(90),
    test!(
        daemon_missing_blob_is_logged_once,
        "U8: a log that repeats itself is read by nobody"
    ),
];

const FSID: &str = "app";
const BLOB: &str = "app.blob";

/// Two files on the device, one after the other, each too long for one read-ahead.
fn image(seed: u32) -> Image {
    Builder::new()
        .device(BLOB)
        .chunked("early", pattern(seed, 64 * BLOCK), 64, &[Some(1)])
        .chunked("late", pattern(seed + 1, 64 * BLOCK), 64, &[Some(1)])
        .build()
}

fn cut(ctx: &Context, blocks: usize) -> Result<()> {
    let blob = File::options().write(true).open(blob_dir(ctx).join(BLOB))?;
    Ok(blob.set_len((blocks * BLOCK) as u64)?)
}

fn invalidate(key: &str) -> Result<String> {
    run(&["invalidate", "--dir", sys::CACHE, key])
}

fn daemon_blob_uploaded_in_part_is_an_error(ctx: &Context) -> Result<()> {
    let image = image(1);
    put(ctx, FSID, &image)?;
    cut(ctx, 64)?;
    let daemon = Daemon::start(ctx, &[])?;
    let mount = daemon.mount(ctx, FSID)?;
    check(&mount, "early", &image.files["early"])?;
    check_eio(&mount.file("late"))?;
    let said = daemon.lines_with(&["giving up on a READ", BLOB, "behind the end"]);
    ensure!(said.len() == 1, "it says: {}", daemon.log());
    unmount(mount)?;
    // Once the rest has come it is another blob, as far as anybody can tell.
    fs::write(blob_dir(ctx).join(BLOB), &image.blobs[0].1)?;
    invalidate(BLOB)?;
    let mount = daemon.mount(ctx, FSID)?;
    for (name, data) in &image.files {
        check(&mount, name, data)?;
    }
    unmount(mount)?;
    daemon.stop()
}

/// An image whose blob was replaced is refused at its mount, or else its file `early`; and the log
/// says why, and what to do.
pub(super) fn is_refused_as_another(daemon: &Daemon, ctx: &Context, fsid: &str) -> Result<()> {
    match daemon.try_mount(ctx, fsid)? {
        Err(_) => {}
        Ok(mount) => check_eio(&mount.file("early"))?,
    }
    let said = daemon.lines_with(&["is another blob now", "invalidate"]);
    ensure!(!said.is_empty(), "it says: {}", daemon.log());
    Ok(())
}

fn daemon_blob_corrected_later_is_refused_until_invalidated(ctx: &Context) -> Result<()> {
    let (wrong, right) = (image(1), image(5));
    put(ctx, FSID, &wrong)?;
    let daemon = Daemon::start(ctx, &[])?;
    let mount = daemon.mount(ctx, FSID)?;
    check(&mount, "early", &wrong.files["early"])?;
    let in_use = invalidate(FSID);
    ensure!(
        in_use.is_err_and(|error| error.to_string().contains("is in use")),
        "what is mounted was invalidated"
    );
    unmount(mount)?;

    // The same size: only the time tells.
    std::thread::sleep(std::time::Duration::from_millis(20));
    put(ctx, FSID, &right)?;
    is_refused_as_another(&daemon, ctx, FSID)?;

    for key in [FSID, BLOB] {
        invalidate(key)?;
    }
    let mount = daemon.mount(ctx, FSID)?;
    for (name, data) in &right.files {
        check(&mount, name, data)?;
    }
    unmount(mount)?;
    daemon.stop()
}

fn daemon_blob_truncated_while_served_is_an_error(ctx: &Context) -> Result<()> {
    let image = image(1);
    put(ctx, FSID, &image)?;
    let daemon = Daemon::start(ctx, &[])?;
    let mount = daemon.mount(ctx, FSID)?;
    check(&mount, "early", &image.files["early"])?;
    cut(ctx, 64)?;
    check_eio(&mount.file("late"))?;
    // What is cached stays right, also after the page cache is dropped.
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    check(&mount, "early", &image.files["early"])?;
    let said = daemon.lines_with(&["giving up on a READ", BLOB]);
    ensure!(said.len() == 1, "it says: {}", daemon.log());
    unmount(mount)?;
    daemon.stop()
}

fn daemon_verifies_what_is_cached_and_removes_what_is_wrong(ctx: &Context) -> Result<()> {
    let image = image(1);
    put(ctx, FSID, &image)?;
    let dir = blob_dir(ctx);
    let blob = dir.join(BLOB);
    let (dir, path) = (dir.to_string_lossy(), blob.to_string_lossy());
    run(&["index", "--chunk-size", "16", &path])?;
    let verify = || run(&["verify", "--dir", sys::CACHE, "--blobs", &dir, BLOB]);
    let daemon = Daemon::start(ctx, &[])?;
    let mount = daemon.mount(ctx, FSID)?;
    check(&mount, "early", &image.files["early"])?;
    unmount(mount)?;
    let idle_and_right = || {
        let mut said = Ok(String::new());
        sys::wait_for("the file to be idle", soon(), || {
            said = verify();
            said.as_ref()
                .is_ok_and(|said| said.contains(" 0 were wrong"))
        })
        .with_context(|| format!("it says: {said:?}"))
    };
    // The C module gives a file its name when it is put away for the first time.
    idle_and_right()?;
    let mount = daemon.mount(ctx, FSID)?;
    check(&mount, "early", &image.files["early"])?;
    let refused = verify();
    ensure!(
        refused
            .as_ref()
            .is_err_and(|error| error.to_string().contains("is in use")),
        "it says: {refused:?}"
    );
    check(&mount, "early", &image.files["early"])?;
    unmount(mount)?;
    idle_and_right()?;

    // A byte of a chunk that is there.
    let key = key_path(format!("erofs,{FSID}").as_bytes(), BLOB.as_bytes());
    let file = Path::new(sys::CACHE).join(key);
    let cached = File::options().read(true).write(true).open(&file)?;
    let mut byte = [0];
    cached.read_exact_at(&mut byte, 20_000)?;
    cached.write_all_at(&[!byte[0]], 20_000)?;
    cached.sync_all()?;
    drop(cached);
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    let said = verify();
    ensure!(
        said.as_ref()
            .is_err_and(|error| error.to_string().contains(" 1 were wrong")),
        "it says: {said:?}"
    );
    let mount = daemon.mount(ctx, FSID)?;
    for (name, data) in &image.files {
        check(&mount, name, data)?;
    }
    unmount(mount)?;
    daemon.stop()
}

fn daemon_missing_blob_is_logged_once(ctx: &Context) -> Result<()> {
    let daemon = Daemon::start(ctx, &[])?;
    for _ in 0..9 {
        ensure!(
            daemon.try_mount(ctx, "absent")?.is_err(),
            "what is not there was mounted"
        );
    }
    let said = daemon.lines_with(&["absent"]);
    ensure!(said.len() == 1, "it says: {said:?}");
    daemon.stop()
}
