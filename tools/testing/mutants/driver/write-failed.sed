# SPDX-License-Identifier: GPL-2.0
# what: what a write that failed was to replace is read from the cache
# file: fs/cachefiles/io/write.rs
# selftests: could_not_be_stored
s/(has_data\(file, start, end\)\.unwrap_or\(true\) \{\n)        object\.data\(\)\.mark_stale\(file\);\n/\1/
