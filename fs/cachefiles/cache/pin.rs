// SPDX-License-Identifier: GPL-2.0

//! What keeps a cache bound.

use super::claim::{Claim, Share};
use super::Cache;
use kernel::sync::Arc;

/// Keeps a cache bound. When the last reference to it goes, the cache is withdrawn, or kept for
/// what is mounted.
pub(crate) struct Pin {
    cache: Arc<Cache>,
    /// Lets the device be opened again; goes after the cache.
    claim: Share,
}

impl Pin {
    pub(crate) fn new(cache: Arc<Cache>, claim: &Claim) -> Self {
        Self {
            cache,
            claim: Share::of(claim),
        }
    }

    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Lets the device be opened from now on, although the cache is bound.
    pub(super) fn give_up_claim(&self) {
        self.claim.give_up();
    }

    /// Hands the cache to the one who has opened the device: it is theirs alone again.
    pub(crate) fn renew_claim(&self, claim: &Claim) {
        self.claim.renew(claim);
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.cache.unpinned();
    }
}
