// SPDX-License-Identifier: GPL-2.0
//! A cache goes from one module to the other, and back.

use anyhow::Result;
use cachefiles_harness::registry::Skip;

use super::{Step, cached_tree, expect_warm};
use crate::world::World;

pub const STEPS: &[Step] = &[Step {
    name: "a_cache_is_taken_over_warm_by_the_other_module_and_back",
    run: take_over,
}];

fn take_over(world: &mut World) -> Result<()> {
    let ours = cached_tree(world, "ours", 51)?;
    if !world.load_other_module()? {
        return Err(Skip("--other-module-path is not given".into()).into());
    }
    let handed = with_the_other(world, &ours);
    // Whatever happened: the steps that follow are about the module under test.
    world.load_own_module()?;
    let theirs = handed?;
    expect_warm(world, "ours", &ours)?;
    expect_warm(world, "theirs", &theirs)
}

/// The other module finds what is there, and adds to it.
fn with_the_other(world: &mut World, ours: &crate::content::Tree) -> Result<crate::content::Tree> {
    expect_warm(world, "ours", ours)?;
    cached_tree(world, "theirs", 52)
}
