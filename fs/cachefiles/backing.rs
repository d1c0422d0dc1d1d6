// SPDX-License-Identifier: GPL-2.0

//! Where a cache is kept: the file system below it, its directories, and what is left of it.

pub(crate) mod dir;
pub(crate) mod in_use;
pub(crate) mod space;
pub(crate) mod trust;

use self::space::Space;
use self::trust::Trust;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::types::ARef;
use kernel_ext::cred::{Credential, User};
use kernel_ext::fs::{Mount, WantWrite};

/// Where a cache is kept.
pub(crate) struct Backing {
    pub(crate) mount: ARef<Mount>,
    /// What files are opened, made and removed with.
    pub(crate) cred: ARef<Credential>,
    /// The security context that the daemon named.
    pub(crate) security_id: Option<u32>,
    /// Who has bound the cache.
    pub(crate) user: User,
    pub(crate) space: Space,
    pub(crate) trust: Trust,
    /// Something was refused as the file system is read-only, and nothing was taken since.
    pub(crate) is_read_only: AtomicBool,
}

impl Backing {
    /// Gets write access to the file system, as [`Mount::want_write`]. Waits, and not killably,
    /// while that is frozen. Error: EROFS, which is logged.
    pub(crate) fn want_write(&self) -> Result<WantWrite<'_>> {
        let write = self
            .mount
            .want_write()
            .inspect_err(|&error| self.note_refusal(error))?;
        self.is_read_only.store(false, Ordering::Relaxed);
        Ok(write)
    }

    /// Logs whether what is fetched outlives a power cut, and if not, why.
    pub(crate) fn tell_trust(&self, tag: &CStr) {
        match self.trust {
            Trust::NotAsked => {}
            Trust::Trusted => {
                kernel_ext::log::info!(
                    "File cache on {}: what is fetched is kept over a power cut",
                    tag
                );
            }
            Trust::Doubted(reason) => {
                kernel_ext::log::info!(
                    "File cache on {}: not safe in a power cut, as the file system {}",
                    tag,
                    reason
                );
            }
        }
    }

    /// Says that the file system is read-only, if that is the error: once, until it is writable
    /// again.
    #[cold]
    pub(crate) fn note_refusal(&self, error: Error) {
        if error == EROFS && !self.is_read_only.swap(true, Ordering::Relaxed) {
            kernel_ext::log::error!(
                "The cache's file system is read-only: \
                 nothing is stored or removed until it is writable"
            );
        }
    }
}
