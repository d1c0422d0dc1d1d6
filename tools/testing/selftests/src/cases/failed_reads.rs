// SPDX-License-Identifier: GPL-2.0
//! Reads that fail, of images of every kind: EROFS reads compressed ones another way than plain
//! ones, and there a failure must be told exactly once.
//!
//! The memory that a second telling uses was freed by the first: that only shows in a kernel that
//! poisons what is freed (`scripts/test poison`, and the debug kernel).

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_protocol::{Errno, key_path};
use rustix::fs::{FallocateFlags, fallocate};
use sha2::{Digest, Sha256};

use super::gates::readers_wait;
use super::module::Injection;
use super::mount::fill_every;
use crate::actor::Actor;
use crate::context::{Context, MadeImage, expect_io_errno};
use crate::image::{BLOCK, Builder, pattern};
use crate::raw;
use crate::registry::{Test, test};
use crate::session::{Mount, Session};
use crate::share::{drop_caches, wait_for_no_cookies};
use crate::sys;
use crate::task::{ReadTask, Task, read_in_background};

const C_CRASHES: &str = "EROFS uses a freed bio once a read of a compressed image fails";

pub const TESTS: &[Test] = &[
    test!(
        read_completed_without_data_fails_in_any_image,
        "D1: a failed read of a compressed image is told once"
    )
    .c_skips(C_CRASHES)
    .limit(240),
    test!(
        reader_that_is_killed_leaves_any_image_readable,
        "D1: a killed reader of a compressed image is told once"
    )
    .c_skips(C_CRASHES)
    .limit(240),
    test!(
        refused_reopening_fails_reads_of_any_image,
        "D1: what no daemon takes on any more is told once"
    )
    .c_skips(C_CRASHES)
    .limit(240),
    test!(
        error_of_the_disk_fails_reads_of_any_image,
        "D1: an error that shows when the read is begun is told once"
    )
    .c_skips(C_CRASHES)
    .limit(240),
    test!(
        file_cut_off_under_any_image_is_not_taken_for_data,
        "D1: a read that comes back short is an error, as EROFS does not look at its length"
    )
    .c_skips("EROFS shows pages that were not read, and frees a bio twice")
    .limit(240),
    test!(
        closed_device_fails_reads_of_any_image,
        "D1: what nobody will fetch any more is told once"
    )
    .c_skips(C_CRASHES)
    .limit(240),
];

/// Before the test, nothing is cached, or every second block, or all.
const NOTHING: Option<usize> = None;
const HALF: Option<usize> = Some(2);
const ALL: Option<usize> = Some(1);

/// Those that mkfs.erofs made with all compressions that it has, and a plain one.
fn images(ctx: &Context) -> Result<Vec<MadeImage>> {
    let mut images = ctx.made_images_in("failing")?;
    let mut builder = Builder::new();
    for seed in 0..3 {
        builder = builder.plain(&format!("file-{seed}"), pattern(seed, 40 * BLOCK));
    }
    let image = builder.build();
    let files = image.files.iter();
    images.push(MadeImage {
        name: "plain".into(),
        primary: image.primary.clone(),
        blob: None,
        files: files.map(|(name, data)| (sum(data), name.into())).collect(),
    });
    Ok(images)
}

fn sum(data: &[u8]) -> String {
    format!("{:x}", Sha256::digest(data))
}

/// An image that is mounted, and of which nothing but data is missing. READs are held.
struct Scene<'a> {
    image: &'a MadeImage,
    session: Session,
    mount: Mount,
}

impl<'a> Scene<'a> {
    fn new(ctx: &Context, image: &'a MadeImage, cached: Option<usize>) -> Result<Self> {
        let mut session = Session::new(ctx.bound_device()?, Default::default());
        let key = image.name.as_bytes();
        session
            .blobs
            .insert(key.to_vec(), image.primary.clone().into());
        let options = format!("fsid={}", image.name);
        let mount = session.mount(&ctx.mount_point(&image.name), options)?;
        if let Some(step) = cached {
            fill_every(&mut session, key, step)?;
        }
        for (_, file) in &image.files {
            let path = mount.path().join(file);
            let task = Task::start("mapping", move || -> Result<()> {
                Ok(raw::look_for_extents(File::open(path)?)?)
            });
            session.pump_until("a file's map", |_| task.is_done())?;
            task.finish()??;
        }
        session.hold_reads = Some(Box::new(|_, _| true));
        Ok(Self {
            image,
            session,
            mount,
        })
    }

    fn file(&self) -> Result<PathBuf> {
        let (_, file) = self.image.files.first().context("no file")?;
        Ok(self.mount.path().join(file))
    }

    /// Starts to read a file, and waits for its first READ.
    fn read_held(&mut self) -> Result<ReadTask> {
        let reader = read_in_background(&self.file()?);
        self.session
            .pump_until("a READ", |session| !session.held.is_empty())?;
        Ok(reader)
    }

    fn expect_eio(&mut self, reader: ReadTask) -> Result<()> {
        self.session
            .pump_until("the reader to end", |_| reader.is_done())?;
        expect_io_errno(reader.finish()?, Errno::IO, "the reader")
    }

    /// From now on all is well, and every file reads as it should.
    fn finish(mut self) -> Result<()> {
        self.session.held.clear();
        self.session.hold_reads = None;
        for (expected, file) in &self.image.files {
            let data = self.session.read_file(&self.mount.path().join(file))?;
            ensure!(sum(&data) == *expected, "{} is wrong", file.display());
        }
        self.session.unmount(self.mount)?;
        self.session.settle()
    }
}

/// Runs `fail` on each image, with so much of it in the cache, and then sees whether all is well.
fn in_any_image(
    ctx: &Context,
    cached: &[Option<usize>],
    fail: impl Fn(&mut Scene<'_>) -> Result<()>,
) -> Result<()> {
    for image in images(ctx)? {
        for &step in cached {
            let run = || {
                let mut scene = Scene::new(ctx, &image, step)?;
                fail(&mut scene)?;
                scene.finish().context("afterwards")
            };
            run().with_context(|| format!("{}, cached {step:?}", image.name))?;
            sys::empty_cache()?;
        }
    }
    Ok(())
}

pub fn read_completed_without_data_fails_in_any_image(ctx: &Context) -> Result<()> {
    in_any_image(ctx, &[NOTHING, HALF], |scene| {
        for _ in 0..20 {
            let reader = read_in_background(&scene.file()?);
            let session = &mut scene.session;
            while !reader.is_done() {
                session.pump_until("a READ or the end", |session| {
                    !session.held.is_empty() || reader.is_done()
                })?;
                for read in std::mem::take(&mut session.held) {
                    let fd = &session.object(read.object_id)?.fd;
                    fd.complete_read(read.msg_id)?;
                }
            }
            expect_io_errno(reader.finish()?, Errno::IO, "the reader")?;
        }
        Ok(())
    })
}

fn reader_that_is_killed_leaves_any_image_readable(ctx: &Context) -> Result<()> {
    readers_wait()?;
    in_any_image(ctx, &[NOTHING, HALF], |scene| {
        for _ in 0..3 {
            let reader = Actor::reader(&scene.file()?)?;
            scene
                .session
                .pump_until("a READ", |session| !session.held.is_empty())?;
            reader.kill()?;
            scene.session.held.clear();
        }
        Ok(())
    })
}

/// What the killed reader has asked for is not gone with it: the daemon fails it.
pub fn killed_reader_leaves_its_reads_to_the_daemon(ctx: &Context) -> Result<()> {
    in_any_image(ctx, &[NOTHING, HALF], |scene| {
        for _ in 0..3 {
            let reader = Actor::reader(&scene.file()?)?;
            scene
                .session
                .pump_until("a READ", |session| !session.held.is_empty())?;
            reader.kill()?;
            for read in std::mem::take(&mut scene.session.held) {
                match scene.session.device.cfail(read.msg_id, Errno::IO) {
                    // EINVAL: one that was waited for is gone with the reader.
                    Ok(()) | Err(Errno::INVAL) => {}
                    Err(errno) => bail!("cfail: {errno:?}"),
                }
            }
        }
        Ok(())
    })
}

pub fn refused_reopening_fails_reads_of_any_image(ctx: &Context) -> Result<()> {
    in_any_image(ctx, &[NOTHING, HALF], |scene| {
        let reader = scene.read_held()?;
        let blobs = std::mem::take(&mut scene.session.blobs);
        scene.session.crash();
        scene.expect_eio(reader)?;
        scene.session.blobs = blobs;
        Ok(())
    })
}

pub fn error_of_the_disk_fails_reads_of_any_image(ctx: &Context) -> Result<()> {
    // With all of it there, nothing fails before the read itself.
    in_any_image(ctx, &[NOTHING, HALF, ALL], |scene| {
        drop_caches()?;
        let injection = Injection::start("2")?;
        for _ in 0..5 {
            let reader = read_in_background(&scene.file()?);
            scene.expect_eio(reader)?;
        }
        drop(injection);
        Ok(())
    })
}

/// The second half is gone, and the file has as many blocks as before all the same.
fn cut_off(name: &str) -> Result<()> {
    let path = Path::new(sys::CACHE).join(key_path(
        format!("erofs,{name}").as_bytes(),
        name.as_bytes(),
    ));
    let file = File::options().read(true).write(true).open(&path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    let len = file.metadata()?.len();
    let cut = (len / 2).next_multiple_of(BLOCK as u64);
    file.set_len(cut)?;
    let more = len - cut + 64 * BLOCK as u64;
    fallocate(&file, FallocateFlags::KEEP_SIZE, cut, more).context("giving it blocks")
}

fn file_cut_off_under_any_image_is_not_taken_for_data(ctx: &Context) -> Result<()> {
    for image in images(ctx)? {
        let mut scene = Scene::new(ctx, &image, ALL)?;
        scene.session.hold_reads = None;
        drop_caches()?;
        cut_off(&image.name)?;
        for (expected, file) in &image.files {
            let reader = read_in_background(&scene.mount.path().join(file));
            scene
                .session
                .pump_until("the reader to end", |_| reader.is_done())?;
            match reader.finish()? {
                Ok(data) => ensure!(sum(&data) == *expected, "{} is wrong", file.display()),
                Err(error) if error.raw_os_error() == Some(libc::EIO) => {}
                Err(error) => bail!("{}: {error}", file.display()),
            }
        }
        scene.session.unmount(scene.mount)?;
        scene.session.settle()?;
        drop(scene.session);
        // Looked up anew, the file gets its size back, and what is missing is fetched.
        let scene = Scene::new(ctx, &image, NOTHING)?;
        scene
            .finish()
            .with_context(|| format!("{}, after a remount", image.name))?;
        sys::empty_cache()?;
    }
    Ok(())
}

pub fn closed_device_fails_reads_of_any_image(ctx: &Context) -> Result<()> {
    for image in images(ctx)? {
        for cached in [NOTHING, HALF] {
            let mut scene = Scene::new(ctx, &image, cached)?;
            let mut readers = vec![scene.read_held()?];
            let file = scene.file()?;
            let Scene { session, mount, .. } = scene;
            drop(session);
            // Once with its READ on its way, then with none to send.
            for _ in 0..3 {
                for reader in readers.drain(..) {
                    expect_io_errno(reader.finish()?, Errno::IO, "the reader")
                        .with_context(|| format!("{}, cached {cached:?}", image.name))?;
                }
                readers.push(read_in_background(&file));
            }
            expect_io_errno(readers.remove(0).finish()?, Errno::IO, "the last reader")?;
            mount.unmount().finish()??;
            wait_for_no_cookies()?;
            sys::empty_cache()?;
        }
    }
    Ok(())
}
