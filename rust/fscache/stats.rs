// SPDX-License-Identifier: GPL-2.0

//! The counters of `/proc/fs/fscache/stats` that a backend updates.
//!
//! C header: [`include/linux/fscache-cache.h`](srctree/include/linux/fscache-cache.h). Any context.
//! Nothing happens in a kernel without `CONFIG_FSCACHE_STATS`.

use cachefiles_bindings as bindings;

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
    count_read, cfh_fscache_count_read, "A read from the cache.";
    count_write, cfh_fscache_count_write, "A write to the cache.";
    count_culled, cfh_fscache_count_culled, "A file or directory that was culled.";
    count_dio_misfit, cfh_fscache_count_dio_misfit, "A write that no direct I/O could do.";
}
