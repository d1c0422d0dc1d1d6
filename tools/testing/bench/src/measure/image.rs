// SPDX-License-Identifier: GPL-2.0
//! Images of many large files whose content nobody keeps: every file is one chunk of a device of
//! its own, and the daemon makes up what it is asked for.

use anyhow::{Context as _, Result};
use cachefiles_harness::image::{BLOCK, Builder, pattern};

/// Pages in a file that nobody reads all of.
pub const PAGES: u64 = 1 << 18;

const SUPER: usize = 1024;
const SLOT: usize = 128;

/// The primary blob of an image of `files` files of `pages` pages (a power of two), each on a
/// device of its own.
pub fn large(prefix: &str, files: usize, pages: u64) -> Result<Vec<u8>> {
    let mut builder = Builder::new();
    for number in 0..files {
        builder = builder.device(device(prefix, number));
    }
    for number in 0..files {
        let place = u16::try_from(number + 1)?;
        builder = builder.chunked(
            &file(number),
            pattern(1, BLOCK),
            usize::try_from(pages)?,
            &[Some(place)],
        );
    }
    let mut image = builder.build().primary;
    enlarge(&mut image, pages).context("an image that is not as expected")?;
    Ok(image)
}

/// The key of a device.
pub fn device(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number:05}")
}

/// The name of the file on a device.
pub fn file(number: usize) -> String {
    format!("f{number:05}")
}

/// Gives every file and every device the full size: the image was made with one block for each.
fn enlarge(image: &mut [u8], pages: u64) -> Option<()> {
    let root = usize::from(u16_at(image, SUPER + 14)?);
    let meta = usize::try_from(u32_at(image, SUPER + 40)?).ok()? * BLOCK;
    let devices = usize::from(u16_at(image, SUPER + 86)?);
    let table = usize::from(u16_at(image, SUPER + 88)?);
    for slot in table..table + devices {
        put(
            image,
            slot * SLOT + 64,
            &(u32::try_from(pages).ok()?).to_le_bytes(),
        )?;
    }
    let root = meta + root * 32;
    let start = usize::try_from(u32_at(image, root + 16)?).ok()? * BLOCK;
    let blocks = usize::try_from(u32_at(image, root + 8)?)
        .ok()?
        .div_ceil(BLOCK);
    for block in 0..blocks {
        let base = start + block * BLOCK;
        // The first name lies behind the last entry.
        let entries = usize::from(u16_at(image, base + 8)?) / 12;
        for entry in 0..entries {
            let at = base + 12 * entry;
            // Regular files.
            if *image.get(at + 10)? == 1 {
                let inode = meta + usize::try_from(u32_at(image, at)?).ok()? * 32;
                put(image, inode + 8, &(pages * BLOCK as u64).to_le_bytes())?;
            }
        }
    }
    Some(())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) -> Option<()> {
    bytes.get_mut(at..at + what.len())?.copy_from_slice(what);
    Some(())
}
