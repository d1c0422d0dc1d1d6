# SPDX-License-Identifier: GPL-2.0
# what: an invalid file stays in the cache
# file: fs/cachefiles/cache/object/invalidate.rs
# selftests: direct_writes
s/old\.filter\(\|_\| !was_tmpfile\)/old.filter(|_| false \&\& !was_tmpfile)/
