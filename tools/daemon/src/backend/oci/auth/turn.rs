// SPDX-License-Identifier: GPL-2.0
//! One at a time, where nobody waits for ever.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::super::deadline::Deadline;
use crate::backend::error::{Fault, SourceError};

/// Whether somebody has it.
#[derive(Debug, Default)]
pub struct Turn {
    is_taken: Mutex<bool>,
    freed: Condvar,
}

/// It is one's own, until this is dropped.
pub struct Taken<'a>(&'a Turn);

impl Turn {
    fn is_taken(&self) -> MutexGuard<'_, bool> {
        self.is_taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it if nobody has it.
    pub fn try_take(&self) -> Option<Taken<'_>> {
        let mut is_taken = self.is_taken();
        let is_free = !std::mem::replace(&mut *is_taken, true);
        is_free.then(|| Taken(self))
    }

    /// Waits for it, but not beyond the deadline.
    pub fn take(&self, deadline: Deadline) -> Result<Taken<'_>, SourceError> {
        let mut is_taken = self.is_taken();
        while *is_taken {
            let left = deadline.left().map_err(|_| {
                let message = "another request did not end that shows whether the registry lets \
                               us in";
                SourceError::new(Fault::Passing, message)
            })?;
            let waited = self.freed.wait_timeout(is_taken, left);
            is_taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *is_taken = true;
        Ok(Taken(self))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.is_taken() = false;
        self.0.freed.notify_one();
    }
}
