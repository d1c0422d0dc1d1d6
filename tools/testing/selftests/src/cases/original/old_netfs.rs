// SPDX-License-Identifier: GPL-2.0
//! What netfs of an earlier 6.12 does wrong by itself, whichever module is below it.

use std::fs::File;
use std::io::Write;

use anyhow::{Context as _, Result};

use super::world::Client;
use crate::sys;
use crate::task::soon;

/// Makes a file on the client whose data reaches the cache on every kernel: see
/// [`sys::wait_for_old_netfs`].
pub fn write_new(client: &Client, name: &str, data: &[u8]) -> Result<()> {
    let mut file = File::create(client.path(name)).with_context(|| format!("creating {name}"))?;
    sys::wait_for_old_netfs(soon())?;
    file.write_all(data)
        .with_context(|| format!("writing {name}"))
}
