// SPDX-License-Identifier: GPL-2.0

//! The right to be the one daemon.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use kernel::prelude::*;

/// How many hold it: the open device, and what keeps a cache bound that was bound through it. While
/// somebody does, the device cannot be opened.
static HOLDERS: AtomicU32 = AtomicU32::new(0);

/// The right to be the one daemon. When all who hold it have dropped it, the next one may open the
/// device.
pub(crate) struct Claim(());

impl Claim {
    /// Takes the right. Error: EBUSY somebody has it.
    pub(crate) fn take() -> Result<Self> {
        HOLDERS
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| EBUSY)?;
        Ok(Self(()))
    }

    fn share(&self) -> Self {
        HOLDERS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        HOLDERS.fetch_sub(1, Ordering::Release);
    }
}

/// A share in the right, which is given up while a cache waits for its next daemon, and renewed by
/// that one.
pub(crate) struct Share(AtomicBool);

impl Share {
    pub(crate) fn of(claim: &Claim) -> Self {
        core::mem::forget(claim.share());
        Self(AtomicBool::new(true))
    }

    pub(crate) fn renew(&self, claim: &Claim) {
        let share = claim.share();
        if !self.0.swap(true, Ordering::AcqRel) {
            core::mem::forget(share);
        }
    }

    pub(crate) fn give_up(&self) {
        if self.0.swap(false, Ordering::AcqRel) {
            drop(Claim(()));
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_up();
    }
}
