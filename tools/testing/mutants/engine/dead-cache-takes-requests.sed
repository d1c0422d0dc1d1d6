# SPDX-License-Identifier: GPL-2.0
# what: requests are taken after the cache died
# file: fs/cachefiles/cache/ondemand/engine.rs
# test: a_cache_dies_while_it_is_read
# hostile: found
s/            guard\.data\(\)\.kill\(\);\n//
