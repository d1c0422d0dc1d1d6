// SPDX-License-Identifier: GPL-2.0
//! Until when a read has to be over, with all that has to be asked for it.

use std::time::{Duration, Instant};

use crate::backend::error::{Fault, SourceError};

/// A point in time.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// Is so far away from now.
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Gives the time that is left. Fails if there is none.
    pub fn left(self) -> Result<Duration, SourceError> {
        let left = self.0.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(SourceError::new(
                Fault::Passing,
                "the time is over that all the requests of one read may take together",
            )),
            false => Ok(left),
        }
    }
}
