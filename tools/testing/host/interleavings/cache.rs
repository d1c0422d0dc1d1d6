// SPDX-License-Identifier: GPL-2.0

//! A bound cache: an engine, and what keeps it.

use crate::ondemand::Engine;
use kernel::sync::Arc;

// As in the driver, where both are in a folder of the cache.
pub(crate) use crate::{object, ondemand};

/// A cache in on-demand mode.
pub(crate) struct Cache {
    pub(crate) engine: Arc<Engine>,
}

impl Cache {
    pub(crate) fn ondemand(&self) -> Option<&Engine> {
        Some(&self.engine)
    }

    pub(crate) fn has_room_ahead(&self, _bytes: i64) -> bool {
        true
    }

    pub(crate) fn engine(&self) -> Option<&Arc<Engine>> {
        Some(&self.engine)
    }
}

/// What keeps a cache bound: the device, and each anonymous fd.
pub(crate) struct Pin {
    pub(crate) cache: Arc<Cache>,
}
