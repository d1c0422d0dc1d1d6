# SPDX-License-Identifier: GPL-2.0
# what: a cache that is withdrawn stays in the list, and in memory
# file: fs/cachefiles/cache.rs
# selftests: caches_are_shown
s/\n        all::remove\(self\);//
