// SPDX-License-Identifier: GPL-2.0
//! What netfs of an earlier 6.12 does wrong by itself, whichever module is below it.

use anyhow::Result;

use crate::registry::Skip;
use crate::sys;

/// Turns a failure into a skip on a kernel whose netfs has no rolling buffer yet (up to 6.12.113).
///
/// There, what is written to a new file does not always reach the cache: the file is there, with
/// zeros, and is read from the server. The C module of 6.12.95 fails the same.
pub fn excused(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error) if !error.is::<Skip>() && !sys::has_symbol("rolling_buffer_init")? => {
            let reason = format!("netfs before its rolling buffer: {error:#}");
            Err(Skip(reason).into())
        }
        outcome => outcome,
    }
}
