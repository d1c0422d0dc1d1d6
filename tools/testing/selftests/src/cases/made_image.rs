// SPDX-License-Identifier: GPL-2.0
//! Images made by mkfs.erofs: what real builds produce, compressed ones among them.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest, Sha256};

use super::mount::fill_every;
use crate::context::{Context, MadeImage};
use crate::registry::{Skip, Test, test};
use crate::session::{Mount, Session};

pub const TESTS: &[Test] = &[
    test!(
        images_made_by_mkfs_erofs_read_back_equal,
        "real images, compressed ones among them"
    )
    .limit(180),
    test!(
        images_made_by_mkfs_erofs_are_warm_after_a_remount,
        "compressed images stay in the cache, too"
    )
    .limit(180),
    test!(
        partly_cached_compressed_image_is_completed,
        "FAULTS 18: EROFS does not get a shortened read, which it handles wrongly"
    )
    .c_skips("reads are shortened at holes; EROFS then completes a bio twice")
    .limit(120),
];

/// Compares all files of a mounted image with their checksums.
fn check_made(session: &mut Session, mount: &Mount, image: &MadeImage) -> Result<()> {
    for (sum, file) in &image.files {
        let data = session.read_file(&mount.path().join(file))?;
        let seen = format!("{:x}", Sha256::digest(&data));
        ensure!(
            seen == *sum,
            "{}: {} has checksum {seen}",
            image.name,
            file.display()
        );
    }
    Ok(())
}

fn read_made_images(ctx: &Context, rounds: usize) -> Result<()> {
    for image in ctx.made_images()? {
        let mut session = Session::new(ctx.bound_device()?, Default::default());
        let mut options = format!("fsid={}", image.name);
        session
            .blobs
            .insert(image.name.clone().into(), Arc::new(image.primary.clone()));
        if let Some(blob) = &image.blob {
            session
                .blobs
                .insert(image.blob_key().into(), Arc::new(blob.clone()));
            options.push_str(&format!(",device={}", image.blob_key()));
        }
        for round in 0..rounds {
            session.log = Default::default();
            let mount = session.mount(&ctx.mount_point(&image.name), &options)?;
            check_made(&mut session, &mount, &image)?;
            session.unmount(mount)?;
            session.settle()?;
            let reads = session.log.reads.len();
            ensure!(
                round > 0 || reads > 0,
                "{}: the cold round sent no READ",
                image.name
            );
            ensure!(
                round == 0 || reads == 0,
                "{}: the warm round sent {reads} READs",
                image.name
            );
        }
    }
    Ok(())
}

fn images_made_by_mkfs_erofs_read_back_equal(ctx: &Context) -> Result<()> {
    read_made_images(ctx, 1)
}

fn images_made_by_mkfs_erofs_are_warm_after_a_remount(ctx: &Context) -> Result<()> {
    read_made_images(ctx, 2)
}

fn partly_cached_compressed_image_is_completed(ctx: &Context) -> Result<()> {
    let images = ctx.made_images()?;
    let Some(image) = images.iter().find(|image| image.name.contains("lz4")) else {
        return Err(Skip("no image named lz4 among those given".into()).into());
    };
    for step in [2, 3, 7] {
        let mut session = Session::new(ctx.bound_device()?, Default::default());
        session
            .blobs
            .insert(image.name.clone().into(), Arc::new(image.primary.clone()));
        let mount = session.mount(
            &ctx.mount_point(&image.name),
            format!("fsid={}", image.name),
        )?;
        fill_every(&mut session, image.name.as_bytes(), step)?;
        check_made(&mut session, &mount, image).with_context(|| format!("every {step}. block"))?;
        session.unmount(mount)?;
        session.settle()?;
        drop(session);
        crate::sys::empty_cache()?;
    }
    Ok(())
}
