// SPDX-License-Identifier: GPL-2.0
//! The steps. Each has files of its own and can be run alone.

mod changing;
mod culling;
mod daemon;
mod reading;
mod takeover;

use anyhow::Result;

use crate::content::Tree;
use crate::world::World;

/// One step.
pub struct Step {
    /// Named after what it shows.
    pub name: &'static str,
    /// Does it.
    pub run: fn(&mut World) -> Result<()>,
}

/// All of them, in the order to run them in.
pub fn all() -> impl Iterator<Item = &'static Step> {
    [
        reading::STEPS,
        changing::STEPS,
        daemon::STEPS,
        takeover::STEPS,
        culling::STEPS,
    ]
    .into_iter()
    .flatten()
}

/// Puts a tree on the server and reads it once by the client, so that the cache has all of it.
fn cached_tree(world: &mut World, name: &str, seed: u64) -> Result<Tree> {
    world.ready()?;
    let tree = Tree::blocks(seed);
    tree.write(&world.server().path(name))?;
    let cold = world.measure("cold", |world| tree.check(&world.client(name)?))?;
    cold.expect_cold()?;
    cold.expect_copied()?;
    Ok(tree)
}

/// Mounts again, and reads the tree from the cache alone.
fn expect_warm(world: &mut World, name: &str, tree: &Tree) -> Result<()> {
    world.remount()?;
    let warm = world.measure("warm", |world| tree.check(&world.client(name)?))?;
    warm.expect_warm()
}

/// Mounts again, and reads a tree that may or may not be in the cache; after that it has to be
/// there.
fn expect_right_then_warm(world: &mut World, name: &str, tree: &Tree) -> Result<()> {
    world.remount()?;
    let first = world.measure("read back", |world| tree.check(&world.client(name)?))?;
    first.expect_no_failure()?;
    expect_warm(world, name, tree)
}
