// SPDX-License-Identifier: GPL-2.0

//! Work that is done after a while: by the workers of `workqueue`, when the test lets time pass.

use crate::workqueue;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};
use kernel::error::Result;
use kernel::init::PinInit;
use kernel::sync::{Arc, LockClassKey};

/// As the real one.
pub trait Delayed: Send + Sync + Sized + 'static {
    /// As the real one.
    fn run(this: Arc<Self>);
}

/// As the real one, of which it does not have to be a part.
pub struct DelayedWork<T> {
    /// What the queue knows it by, once it was started.
    owner: AtomicUsize,
    _owner: PhantomData<fn(T)>,
}

impl<T: Delayed> DelayedWork<T> {
    /// As the real one.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(_class: &'static LockClassKey) -> impl PinInit<Self> {
        Self {
            owner: AtomicUsize::new(0),
            _owner: PhantomData,
        }
    }

    /// As the real one.
    pub fn start(&self, owner: &Arc<T>, ticks: usize) -> Result {
        let of = workqueue::key(owner);
        self.owner.store(of as usize, Ordering::SeqCst);
        workqueue::start_later(of, owner.clone(), ticks, T::run);
        Ok(())
    }

    /// As the real one.
    pub fn cancel_sync(&self) -> bool {
        workqueue::cancel_sync(self.owner.load(Ordering::SeqCst) as *const ())
    }
}
