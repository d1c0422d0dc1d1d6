// SPDX-License-Identifier: GPL-2.0
//! A look-up that meets who takes away what it found. It is held up between the one step and the
//! next: somebody has the file or directory locked, and needs data that the daemon does not hand
//! out yet.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Errno, key_path};

use super::restore::two_blobs;
use crate::actor::Actor;
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::raw;
use crate::registry::{Skip, Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::sys;
use crate::task::{Task, module_waits_in_a_worker, soon};

pub const TESTS: &[Test] = &[
    test!(
        file_culled_while_it_is_looked_up_is_made_anew,
        "D11: who mounts an image is not refused for what is culled at that moment"
    )
    .c_fails("the mount fails, as the file is marked by who culls it"),
    test!(
        file_removed_by_root_while_it_is_looked_up_is_made_anew,
        "D11: what is fetched is not written to a file without a name"
    )
    .c_fails("the file that is gone is used"),
    test!(
        directory_is_marked_before_anybody_can_take_it_away,
        "D7: a fan-out directory is found and marked in one step"
    ),
];

/// The domain of the images that are mounted meanwhile.
const DOMAIN: &str = "meeting";

fn small(seed: u32) -> Image {
    Builder::new().plain("file", pattern(seed, BLOCK)).build()
}

fn path_of(fsid: &str) -> PathBuf {
    let volume = format!("erofs,{DOMAIN}");
    Path::new(sys::CACHE).join(key_path(volume.as_bytes(), fsid.as_bytes()))
}

fn options(fsid: &str) -> String {
    format!("domain_id={DOMAIN},fsid={fsid}")
}

/// A daemon whose cache holds the image `fsid`, which nobody uses.
fn with_idle(ctx: &Context, fsid: &str, image: &Image) -> Result<Session> {
    let mut session = ctx.session(fsid, image)?;
    let mount = session.mount(&ctx.mount_point(fsid), options(fsid))?;
    session.check_files(&mount, image)?;
    session.unmount(mount)?;
    session.settle()?;
    ensure!(path_of(fsid).exists(), "{fsid} was not stored");
    Ok(session)
}

/// An image whose file `a` makes who needs it wait.
fn mount_slow(ctx: &Context, session: &mut Session) -> Result<Mount> {
    let image = two_blobs();
    session.blobs.extend(blobs_of("slow", &image));
    let mount = session.mount(&ctx.mount_point("slow"), "fsid=slow")?;
    session.look_up(&mount.file("a"))?;
    session.hold_reads = Some(Box::new(|key, _| key == b"blob-a"));
    Ok(mount)
}

/// A name that is kept in the same directory as `other`.
fn neighbour_of(other: &str) -> Result<String> {
    (0..100_000)
        .map(|number| format!("neighbour-{number}"))
        .find(|name| path_of(name).parent() == path_of(other).parent())
        .context("no such name")
}

/// Takes the file of an image away while the look-up of its next mount waits for the file's inode.
fn taken_away(
    ctx: &Context,
    take: impl FnOnce(&Session, &Path) -> Result<Task<Result<()>>>,
) -> Result<()> {
    if sys::has_lockdep() {
        // The test's own doing. Lockdep says so once, and then nothing any more.
        let reason = "a file of the cache is written to from a mapping of an image in that cache, \
                      whose page is read with that file system's locks";
        return Err(Skip(reason.into()).into());
    }
    let (victim, image) = ("victim", small(1));
    let neighbour = neighbour_of(victim)?;
    let mut session = with_idle(ctx, victim, &image)?;
    let slow = mount_slow(ctx, &mut session)?;
    session.blobs.extend(blobs_of(&neighbour, &small(2)));
    // From here on the directory is in use, and need not be locked to look something up.
    let beside = session.mount(&ctx.mount_point("beside"), options(&neighbour))?;

    let path = path_of(victim);
    let (to, from) = (
        File::options().write(true).open(&path)?,
        File::open(slow.file("a"))?,
    );
    let writer = Task::start("a slow write", move || raw::write_from_mapping(&to, &from));
    session.pump_until("the READ of who writes", |session| !session.held.is_empty())?;
    sys::wait_for("the writer to wait", soon(), || writer.sleeps())?;
    let taker = take(&session, &path)?;
    // Only then is it before the look-up in the queue for the file's lock.
    sys::wait_for("who takes it away to wait for the file", soon(), || {
        taker.sleeps_in(|caller| {
            caller.starts_with("vfs_unlink+") || caller.ends_with("[cachefiles]")
        })
    })?;
    let mount = session.mount_in_background(&ctx.mount_point(victim), options(victim))?;
    let waits = session.pump_until("the look-up to wait", |_| module_waits_in_a_worker());

    session.hold_reads = None;
    session.answer_held_backwards()?;
    session.pump_until("the mount to return", |_| mount.is_done())?;
    let written = writer.finish()?.context("the slow write")?;
    ensure!(written == BLOCK, "wrote {written} bytes");
    taker.finish()?.context("taking it away")?;
    waits?;
    let mount = mount.finish()?.context("mount")?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.unmount(beside)?;
    session.unmount(slow)?;
    session.settle()?;
    ensure!(path.exists(), "the new file was not stored");
    let mount = session.mount(&ctx.mount_point(victim), options(victim))?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)
}

fn file_culled_while_it_is_looked_up_is_made_anew(ctx: &Context) -> Result<()> {
    let result = taken_away(ctx, |session, path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let command = format!("cull {}", name.context("a name that is no text")?);
        std::env::set_current_dir(path.parent().context("no parent")?)?;
        let device = Arc::clone(&session.device);
        Ok(Task::start("the cull", move || {
            device.command(&command).context(command)
        }))
    });
    std::env::set_current_dir("/")?;
    result
}

fn file_removed_by_root_while_it_is_looked_up_is_made_anew(ctx: &Context) -> Result<()> {
    taken_away(ctx, |_, path| {
        let path = path.to_owned();
        Ok(Task::start("removing the file", move || {
            fs::remove_file(path).context("unlink")
        }))
    })
}

fn directory_is_marked_before_anybody_can_take_it_away(ctx: &Context) -> Result<()> {
    let (fsid, image) = ("lazy", small(3));
    let mut session = with_idle(ctx, fsid, &image)?;
    let slow = mount_slow(ctx, &mut session)?;
    let path = path_of(fsid);
    let fan = path.parent().context("no parent")?;
    let volume = fan.parent().context("no parent")?;

    // Somebody lists the directory, which keeps it locked.
    let lister = Actor::lister(fan, &slow.file("a"))?;
    session.pump_until("the READ of who lists", |session| !session.held.is_empty())?;
    let mount = session.mount_in_background(&ctx.mount_point(fsid), options(fsid))?;
    let waits = session.pump_until("the look-up to wait", |_| module_waits_in_a_worker());
    // Found and not marked yet: until it is, nobody changes a name in the directory above.
    let probe = volume.join("probe");
    let change = {
        let probe = probe.clone();
        Task::start("a change above", move || fs::create_dir(probe))
    };
    std::thread::sleep(Duration::from_millis(300));
    let changed = change.is_done();

    session.hold_reads = None;
    session.answer_held_backwards()?;
    session.pump_until("the mount to return", |_| mount.is_done())?;
    let mount = mount.finish()?.context("mount")?;
    change.finish()?.context("the change above")?;
    lister.said()?;
    waits?;
    ensure!(!changed, "the directory above was changed meanwhile");
    let culled = super::original::world::command_at(&session.device, fan, "cull")?;
    crate::context::expect_errno(culled, Errno::BUSY, "cull of what is in use")?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.unmount(slow)?;
    fs::remove_dir(probe).context("removing what was made meanwhile")
}
