# SPDX-License-Identifier: GPL-2.0
# what: a network file is refused in a cache of both modes
# file: fs/cachefiles/cache/behaviour.rs
# selftests: network_file_and_image_are_cached_side_by_side_with_mixed
s/cookie\.wants_cache_size\(\) \|\| !self\.is_mixed\(\)/cookie.wants_cache_size() || self.ondemand.is_some()/
