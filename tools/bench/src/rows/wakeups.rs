// SPDX-License-Identifier: GPL-2.0
//! Later.
use anyhow::Result;
use super::Bench;
/// The row.
pub fn run(_bench: &mut Bench) -> Result<()> { Ok(()) }
