# SPDX-License-Identifier: GPL-2.0
# what: an on-demand cache takes network files though its daemon did not ask for it
# file: fs/cachefiles/cache/behaviour.rs
# selftests: network_file_is_not_cached_on_demand_without_mixed
s/cookie\.wants_cache_size\(\) \|\| !self\.is_mixed\(\)/cookie.wants_cache_size()/
