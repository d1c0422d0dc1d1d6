// SPDX-License-Identifier: GPL-2.0

//! The counters of `/proc/fs/fscache/stats` that are a backend's to move.
//!
//! C header: [`include/linux/fscache-cache.h`](srctree/include/linux/fscache-cache.h). Any context.
//! Nothing happens in a kernel without `CONFIG_FSCACHE_STATS`.

use cachefiles_bindings as bindings;
use core::sync::atomic::{AtomicI32, Ordering};

macro_rules! counters {
    ($($name:ident, $helper:ident, $doc:literal;)*) => {$(
        #[doc = $doc]
        #[inline]
        pub fn $name() {
            // SAFETY: Adds to a global counter; there is nothing to rely on.
            unsafe { bindings::$helper() };
        }
    )*};
}

counters! {
    count_no_write_space, cfh_fscache_count_no_write_space, "A write that lacked space.";
    count_no_create_space, cfh_fscache_count_no_create_space, "A new file that lacked space.";
    count_culled, cfh_fscache_count_culled, "A file or directory that was culled.";
    count_dio_misfit, cfh_fscache_count_dio_misfit, "A write that no direct I/O could do.";
}

/// Counters that every read or write moves: in place, as it is for C.
macro_rules! hot_counters {
    ($($name:ident, $counter:ident, $doc:literal;)*) => {$(
        #[doc = $doc]
        #[inline]
        pub fn $name() {
            #[cfg(CONFIG_FSCACHE_STATS)]
            {
                let counter =
                    // SAFETY: A global `atomic_t` that is there for ever, and is only touched by
                    // atomic operations.
                    unsafe { AtomicI32::from_ptr(&raw mut bindings::$counter.counter) };
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    )*};
}

hot_counters! {
    count_read, fscache_n_read, "A read from the cache.";
    count_write, fscache_n_write, "A write to the cache.";
}
