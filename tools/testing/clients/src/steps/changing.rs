// SPDX-License-Identifier: GPL-2.0
//! Files that change: by the client, and on the server behind its back.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

use super::{Step, cached_tree, expect_right_then_warm, expect_warm};
use crate::content::{BLOCK, Tree, pattern};
use crate::world::World;

pub const STEPS: &[Step] = &[
    Step {
        name: "what_the_client_writes_reaches_the_server_and_is_read_back_right",
        run: client_writes,
    },
    Step {
        name: "what_the_client_truncates_and_extends_is_read_back_right",
        run: client_resizes,
    },
    Step {
        name: "what_changed_on_the_server_is_seen_after_a_remount_and_the_rest_stays_warm",
        run: server_changes,
    },
];

fn client_writes(world: &mut World) -> Result<()> {
    let name = "written";
    let mut tree = cached_tree(world, name, 11)?;
    let dir = world.client(name)?;
    let wrote = world.measure("written", |_| {
        // A new file; the middle, a whole block and the end of one that is cached.
        tree.set("new", pattern(12, 50 * BLOCK));
        fs::write(dir.join("new"), tree.get("new")?)?;
        let old = tree.get_mut("f03")?;
        let end = 74 * BLOCK;
        let mut file = File::options().write(true).open(dir.join("f03"))?;
        for (offset, length) in [
            (5_000, 3_000),
            (65_536, BLOCK),
            (u64::try_from(end)? - 1_000, 1_000 + 3 * BLOCK),
        ] {
            let text = pattern(offset + 13, length);
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(&text)?;
            overwrite(old, usize::try_from(offset)?, &text);
        }
        file.sync_all()?;
        Ok(())
    })?;
    wrote.expect_no_failure()?;
    tree.check(&dir).context("the client, still mounted")?;
    tree.check(&world.server().path(name))
        .context("the server")?;
    expect_right_then_warm(world, name, &tree)
}

fn client_resizes(world: &mut World) -> Result<()> {
    let name = "resized";
    let mut tree = cached_tree(world, name, 21)?;
    let dir = world.client(name)?;
    let resized = world.measure("resized", |_| {
        let tree = &mut tree;
        // Shorter, then longer again: what was cut off must not come back. Then a piece in the
        // hole.
        resize(&dir, tree, "f03", &[2 * BLOCK + 1, 5 * BLOCK])?;
        let text = pattern(22, 100);
        let mut file = File::options().write(true).open(dir.join("f03"))?;
        file.seek(SeekFrom::Start(12_000))?;
        file.write_all(&text)?;
        overwrite(tree.get_mut("f03")?, 12_000, &text);
        // Longer only; shorter only; to nothing.
        resize(&dir, tree, "f01", &[3 * BLOCK])?;
        resize(&dir, tree, "f04", &[16 * BLOCK])?;
        resize(&dir, tree, "f02", &[0])?;
        Ok(())
    })?;
    resized.expect_no_failure()?;
    tree.check(&dir).context("the client, still mounted")?;
    cachefiles_harness::share::drop_caches()?;
    tree.check(&dir).context("the client, without its pages")?;
    tree.check(&world.server().path(name))
        .context("the server")?;
    expect_right_then_warm(world, name, &tree)
}

fn server_changes(world: &mut World) -> Result<()> {
    let name = "changed";
    let mut tree = cached_tree(world, name, 31)?;
    let dir = world.server().path(name);
    // The same length, shorter, longer; and another file in the place of one.
    let replaced = [
        ("f02", 16 * BLOCK),
        ("f03", 20 * BLOCK),
        ("f04", 300 * BLOCK),
        ("f05", BLOCK),
    ];
    for (index, (file, length)) in (0..).zip(replaced) {
        tree.set(file, pattern(32 + index, length));
        if file == "f05" {
            fs::remove_file(dir.join(file))?;
        }
        fs::write(dir.join(file), tree.get(file)?)?;
        make_newer(&dir.join(file))?;
    }
    // Truncated, and extended, in place.
    resize(&dir, &mut tree, "f20", &[1_000, 9 * BLOCK])?;
    make_newer(&dir.join("f20"))?;
    let is_new = |file: &str| file == "f20" || replaced.iter().any(|(name, _)| *name == file);

    world.remount()?;
    let old = tree.only(|file| !is_new(file));
    let warm = world.measure("unchanged", |world| old.check(&world.client(name)?))?;
    warm.expect_warm()?;
    let new = tree.only(is_new);
    let cold = world.measure("changed", |world| new.check(&world.client(name)?))?;
    cold.expect_cold()?;
    cold.expect_copied()?;
    expect_warm(world, name, &tree)
}

/// Gives a file each of these lengths in turn.
fn resize(dir: &Path, tree: &mut Tree, name: &str, lengths: &[usize]) -> Result<()> {
    let file = File::options().write(true).open(dir.join(name))?;
    for &length in lengths {
        file.set_len(u64::try_from(length)?)?;
        tree.get_mut(name)?.resize(length, 0);
    }
    Ok(())
}

/// Replaces what is at `offset`; the contents grow where they have to.
fn overwrite(contents: &mut Vec<u8>, offset: usize, text: &[u8]) {
    let end = offset + text.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents.splice(offset..end, text.iter().copied());
}

/// A later modification time. 9p's version of a file knows nothing finer than seconds, so without
/// this a file that is written twice within one second and keeps its length passes for unchanged.
fn make_newer(path: &Path) -> Result<()> {
    let later = SystemTime::now() + Duration::from_secs(100);
    File::options()
        .write(true)
        .open(path)?
        .set_modified(later)
        .with_context(|| format!("setting the time of {}", path.display()))
}
