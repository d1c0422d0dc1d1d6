# SPDX-License-Identifier: GPL-2.0
# what: D8: what a write could not replace is kept, where it takes room for nothing
# file: fs/cachefiles/cache/object/commit.rs
# selftests: when_the_cache_goes_offline
s/match \(retired \|\| object\.data\(\)\.is_stale\(\), /match (retired, /
