# SPDX-License-Identifier: GPL-2.0
# what: after a write that fails in its completion the old data is read from the cache
# file: fs/cachefiles/io/write.rs
# selftests: write_that_fails_late
s/if result < 0 \{\n            not_written\(&object, file, start, len, !was_async\)/if result < 0 \&\& !was_async {\n            not_written(\&object, file, start, len, !was_async)/
