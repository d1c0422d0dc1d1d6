# SPDX-License-Identifier: GPL-2.0
# what: files outside the cache are culled
# file: fs/cachefiles/device/cull.rs
# selftests: outside_the_cache
s/if !path\.dentry\(\)\.is_within\(&cache\.store\)/if false \&\& !path.dentry().is_within(\&cache.store)/
