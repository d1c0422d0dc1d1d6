// SPDX-License-Identifier: GPL-2.0
//! `daemonless`: blobs that are there as a whole are looked up without an OPEN.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;
use rustix::fs::{FallocateFlags, XattrFlags, fallocate};

use super::restore::two_blobs;
use crate::context::{Context, TAG, expect_errno};
use crate::image::{BLOCK, Image};
use crate::registry::{Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::share::drop_caches;
use crate::sys;
use crate::task::{Task, read_in_background, soon};

pub const TESTS: &[Test] = &[
    test!(
        complete_image_needs_no_message_with_daemonless,
        "a machine that starts need not wait for its daemon"
    )
    .c_fails(NO_DAEMONLESS),
    test!(
        hole_of_a_daemonless_blob_takes_an_open_and_a_read,
        "what was removed is fetched, and never read as zeros"
    )
    .c_fails(NO_DAEMONLESS),
    test!(
        incomplete_blob_is_opened_with_daemonless,
        "only what is there as a whole does without the daemon"
    )
    .c_fails(NO_DAEMONLESS),
    test!(
        blob_of_another_state_is_opened_with_daemonless,
        "a file that is not known to be good is not believed"
    )
    .c_fails(NO_DAEMONLESS),
    test!(
        blob_that_is_marked_dirty_is_opened_with_daemonless,
        "a file that would be replaced is the daemon's to give the size of"
    )
    .c_fails(NO_DAEMONLESS),
    test!(
        complete_image_is_opened_without_daemonless,
        "nothing changes for daemons that do not ask for it"
    ),
    test!(
        complete_image_is_mounted_in_a_kept_cache_with_daemonless,
        "images come, although the daemon has gone for good"
    )
    .c_fails(NO_DAEMONLESS),
    test!(
        complete_image_needs_no_message_from_the_beginning_with_daemonless,
        "who comes while the cache is bound is treated as who comes later"
    )
    .limit(120)
    .c_fails(NO_DAEMONLESS),
    test!(
        daemonless_is_0_or_1_and_comes_before_bind,
        "a mistake is refused"
    )
    .c_fails(NO_DAEMONLESS),
];

const NO_DAEMONLESS: &str = "there is no `daemonless`";
const FSID: &str = "daemonless";

/// A daemon of a cache without OPENs for what is complete.
fn daemonless(ctx: &Context, image: &Image) -> Result<Session> {
    let device = ctx.device()?;
    device.set_daemonless(true)?;
    device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))?;
    Ok(Session::new(Arc::new(device), blobs_of(FSID, image)))
}

fn mount(ctx: &Context, session: &mut Session) -> Result<Mount> {
    session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))
}

/// Has all blobs stored as a whole, by a daemon that is gone then.
fn store(ctx: &Context, image: &Image) -> Result<()> {
    let mut session = ctx.session(FSID, image)?;
    let mount = mount(ctx, &mut session)?;
    for (key, blob) in &session.blobs.clone() {
        let (object, _) = session.object_of(key)?;
        session.fill(object, 0, blob.len() as u64)?;
    }
    session.check_files(&mount, image)?;
    session.unmount(mount)?;
    session.settle()?;
    drop(session);
    sys::wait_until_unused(soon())?;
    drop_caches()
}

/// Who tries to mount until it works, or this is dropped.
struct Mounter {
    task: Option<Task<Option<Mount>>>,
    tries: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
}

impl Mounter {
    fn start(ctx: &Context) -> Result<Self> {
        let target = ctx.mount_point(FSID);
        std::fs::create_dir_all(&target)?;
        let (tries, stop) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let (tried, stopped) = (Arc::clone(&tries), Arc::clone(&stop));
        let task = Task::start("mounting over and over", move || {
            while !stopped.load(Ordering::Relaxed) {
                if sys::mount_erofs(&target, format!("fsid={FSID}").as_bytes()).is_ok() {
                    return Some(Mount::at(target));
                }
                tried.fetch_add(1, Ordering::Relaxed);
            }
            None
        });
        let task = Some(task);
        Ok(Self { task, tries, stop })
    }
}

impl Drop for Mounter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn complete_image_needs_no_message_from_the_beginning_with_daemonless(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    store(ctx, &image)?;
    for round in 0..8 {
        let mut mounter = Mounter::start(ctx)?;
        sys::wait_for("the first try", soon(), || {
            mounter.tries.load(Ordering::Relaxed) > 0
        })?;
        let mut session = daemonless(ctx, &image)?;
        let task = mounter.task.take().context("no task")?;
        session.pump_until("mount to return", |_| task.is_done())?;
        let mount = task.finish()?.context("not mounted")?;
        let opens = opens(&session);
        ensure!(opens.is_empty(), "round {round}: OPENs {opens:?}");
        end(session, mount)?;
        sys::wait_until_unused(soon())?;
    }
    Ok(())
}

/// The stored file of a blob.
fn stored(key: &str) -> Result<File> {
    let mut dirs = vec![Path::new(sys::CACHE).join("cache")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else if entry.file_name().to_string_lossy().ends_with(key) {
                let file = File::options().write(true).open(entry.path());
                return file.with_context(|| format!("opening {}", entry.path().display()));
            }
        }
    }
    anyhow::bail!("no file of {key} is stored")
}

/// The keys of the OPENs so far.
fn opens(session: &Session) -> Vec<String> {
    let keys = session.log.opens.iter();
    keys.map(|(_, _, key)| String::from_utf8_lossy(key).into_owned())
        .collect()
}

fn end(mut session: Session, mount: Mount) -> Result<()> {
    session.unmount(mount)?;
    session.settle()
}

fn complete_image_needs_no_message_with_daemonless(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    store(ctx, &image)?;
    let mut session = daemonless(ctx, &image)?;
    // Nobody reads the device.
    let task = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    let mount = task.finish()?.context("mounting")?;
    for (name, expected) in &image.files {
        let data = read_in_background(&mount.file(name)).finish()?;
        let data = data.with_context(|| format!("reading {name}"))?;
        ensure!(data == *expected, "{name} has wrong content");
    }
    mount.unmount().finish()??;
    session.settle()?;
    let messages = (session.log.opens.len(), session.log.closes.len());
    ensure!(messages == (0, 0), "OPENs and CLOSEs: {messages:?}");
    ensure!(
        session.log.reads.is_empty(),
        "READs: {:?}",
        session.log.reads
    );
    Ok(())
}

fn hole_of_a_daemonless_blob_takes_an_open_and_a_read(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    store(ctx, &image)?;
    let mut session = daemonless(ctx, &image)?;
    let mount = mount(ctx, &mut session)?;
    session.look_up(&mount.file("b"))?;
    ensure!(opens(&session).is_empty(), "OPENs: {:?}", opens(&session));
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(stored("blob-b")?, punch, BLOCK as u64, BLOCK as u64)?;
    session.check_files(&mount, &image)?;
    ensure!(
        opens(&session) == ["blob-b"],
        "OPENs: {:?}",
        opens(&session)
    );
    let reads: Vec<_> = session
        .log
        .reads
        .iter()
        .map(|read| (read.off, read.len))
        .collect();
    ensure!(reads == [(BLOCK as u64, BLOCK as u64)], "READs: {reads:?}");
    // It is whole again.
    drop_caches()?;
    session.check_files(&mount, &image)?;
    ensure!(session.log.reads.len() == 1, "it was not stored");
    end(session, mount)
}

fn incomplete_blob_is_opened_with_daemonless(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    store(ctx, &image)?;
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    // The last page, and the first.
    fallocate(stored("blob-a")?, punch, 7 * BLOCK as u64, BLOCK as u64)?;
    fallocate(stored("blob-b")?, punch, 0, BLOCK as u64)?;
    let mut session = daemonless(ctx, &image)?;
    let mount = mount(ctx, &mut session)?;
    let mut opened = opens(&session);
    opened.sort();
    ensure!(opened == ["blob-a", "blob-b"], "OPENs: {opened:?}");
    session.check_files(&mount, &image)?;
    end(session, mount)
}

/// By which a cache file says what it is.
const ATTRIBUTE: &str = "user.CacheFiles.cache";

/// Changes a byte of the attribute of a blob's file.
fn change_attribute(key: &str, at: usize, change: impl FnOnce(u8) -> u8) -> Result<()> {
    let file = stored(key)?;
    let mut attribute = [0; 64];
    let length = rustix::fs::fgetxattr(&file, ATTRIBUTE, &mut attribute)?;
    attribute[at] = change(attribute[at]);
    let attribute = &attribute[..length];
    rustix::fs::fsetxattr(&file, ATTRIBUTE, attribute, XattrFlags::empty())?;
    Ok(())
}

fn blob_of_another_state_is_opened_with_daemonless(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    store(ctx, &image)?;
    // One says that it is longer than it is, the other nothing.
    change_attribute("blob-a", 6, |byte| byte + 1)?;
    rustix::fs::fremovexattr(stored("blob-b")?, ATTRIBUTE)?;
    let mut session = daemonless(ctx, &image)?;
    let mount = mount(ctx, &mut session)?;
    let mut opened = opens(&session);
    opened.sort();
    ensure!(opened == ["blob-a", "blob-b"], "OPENs: {opened:?}");
    session.check_files(&mount, &image)?;
    end(session, mount)
}

fn blob_that_is_marked_dirty_is_opened_with_daemonless(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    store(ctx, &image)?;
    // The content byte, behind sizes and type: 4 is for what a client has changed.
    change_attribute("blob-a", 17, |_| 4)?;
    let mut session = daemonless(ctx, &image)?;
    let mount = mount(ctx, &mut session)?;
    let opened = opens(&session);
    ensure!(opened == ["blob-a"], "OPENs: {opened:?}");
    session.check_files(&mount, &image)?;
    end(session, mount)
}

fn complete_image_is_opened_without_daemonless(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    store(ctx, &image)?;
    let mut session = ctx.session(FSID, &image)?;
    let mount = mount(ctx, &mut session)?;
    let mut opened = opens(&session);
    opened.sort();
    ensure!(opened == ["blob-a", "blob-b", FSID], "OPENs: {opened:?}");
    session.check_files(&mount, &image)?;
    ensure!(
        session.log.reads.is_empty(),
        "READs: {:?}",
        session.log.reads
    );
    end(session, mount)
}

fn complete_image_is_mounted_in_a_kept_cache_with_daemonless(ctx: &Context) -> Result<()> {
    let (image, other) = (two_blobs(), crate::image::Builder::new().build());
    store(ctx, &image)?;
    let mut session = daemonless(ctx, &image)?;
    let primary = Arc::new(other.primary.clone());
    session.blobs.insert(b"other".to_vec(), primary);
    let keeps = session.mount(&ctx.mount_point("other"), "fsid=other")?;
    drop(session);
    let target = ctx.mount_point(FSID);
    std::fs::create_dir_all(&target)?;
    sys::mount_erofs(&target, format!("fsid={FSID}").as_bytes()).context("without a daemon")?;
    let mount = Mount::at(target);
    for (name, expected) in &image.files {
        let data = read_in_background(&mount.file(name)).finish()?;
        ensure!(data? == *expected, "{name} has wrong content");
    }
    mount.unmount().finish()??;
    keeps.unmount().finish()??;
    sys::wait_until_unused(soon())
}

fn daemonless_is_0_or_1_and_comes_before_bind(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    for bad in ["", " 2", " -1", " x", " 1x", " 01"] {
        let command = format!("daemonless{bad}");
        expect_errno(device.command(&command), Errno::INVAL, &command)?;
    }
    device.set_daemonless(true)?;
    device.set_daemonless(false)?;
    device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))?;
    expect_errno(device.set_daemonless(true), Errno::BUSY, "after bind")?;
    drop(device);
    // The last word counts: it is off.
    complete_image_is_opened_without_daemonless(ctx)
}
