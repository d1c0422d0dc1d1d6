// SPDX-License-Identifier: GPL-2.0

//! The right to be the one daemon.

use core::sync::atomic::{AtomicBool, Ordering};
use kernel::prelude::*;

/// Set while the device is open, or a cache that was bound through it is not gone yet.
static CLAIMED: AtomicBool = AtomicBool::new(false);

/// The right to be the one daemon. Dropping it lets the next one open the device.
pub(crate) struct Claim(());

impl Claim {
    /// Takes the right. Error: EBUSY somebody has it.
    pub(crate) fn take() -> Result<Self> {
        if CLAIMED.swap(true, Ordering::Acquire) {
            return Err(EBUSY);
        }
        Ok(Self(()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED.store(false, Ordering::Release);
    }
}
