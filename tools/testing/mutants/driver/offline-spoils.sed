# SPDX-License-Identifier: GPL-2.0
# what: D8: a file is deleted because it was written to as its cache went offline, though it had a hole there
# file: fs/cachefiles/io/write.rs
# selftests: when_the_cache_goes_offline
s/            not_written\(&object, file, start, iter\.count\(\), true\);/            let _ = \&iter;\n            object.data().mark_stale(file);/
