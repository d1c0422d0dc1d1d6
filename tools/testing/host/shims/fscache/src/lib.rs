// SPDX-License-Identifier: GPL-2.0

//! As much of fscache as the on-demand engine uses.

use kernel::sync::Arc;
use kernel::workqueue::WorkItem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A flag of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieFlag {
    /// There is nothing in the cache.
    NoDataToRead,
}

/// A cookie: what the daemon may set of it.
pub struct Cookie {
    key: Vec<u8>,
    size: AtomicU64,
    no_data: AtomicBool,
}

impl Cookie {
    /// A cookie of a key.
    pub fn new(key: &[u8]) -> Self {
        // A short key lies in the cookie itself.
        let key = key.to_vec();
        kernel::uaccess::forbid_copies(&key);
        Self {
            key,
            size: AtomicU64::new(0),
            no_data: AtomicBool::new(true),
        }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether the daemon may set the size.
    pub fn wants_cache_size(&self) -> bool {
        true
    }

    /// The size, in bytes.
    pub fn object_size(&self) -> u64 {
        self.size.load(Ordering::SeqCst)
    }

    /// Sets it.
    pub fn set_object_size(&self, size: u64) {
        self.size.store(size, Ordering::SeqCst);
    }

    /// Sets a flag.
    pub fn set_flag(&self, flag: CookieFlag) {
        match flag {
            CookieFlag::NoDataToRead => self.no_data.store(true, Ordering::SeqCst),
        }
    }

    /// Clears it.
    pub fn clear_flag(&self, flag: CookieFlag) {
        match flag {
            CookieFlag::NoDataToRead => self.no_data.store(false, Ordering::SeqCst),
        }
    }
}

impl Drop for Cookie {
    fn drop(&mut self) {
        kernel::uaccess::forget(&self.key);
    }
}

/// A volume: its key.
pub struct Volume(());

impl Volume {
    /// The volume.
    pub const fn new() -> Self {
        Self(())
    }

    /// Its key, with the NUL.
    pub fn key_with_nul(&self) -> &[u8] {
        b"erofs,model\0"
    }
}

impl Default for Volume {
    fn default() -> Self {
        Self::new()
    }
}

/// The queue of fscache.
pub fn queue() -> Queue {
    Queue(())
}

/// A work queue.
pub struct Queue(());

impl Queue {
    /// Queues work; the reference comes back where it waits already.
    pub fn enqueue<T>(&self, target: Arc<T>) -> Result<(), Arc<T>>
    where
        T: WorkItem<Pointer = Arc<T>> + 'static,
    {
        kernel_ext::workqueue::enqueue(target)
    }
}
