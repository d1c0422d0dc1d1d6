# SPDX-License-Identifier: GPL-2.0
# what: a file stays marked after all was written
# file: fs/cachefiles/cache/object/commit.rs
# selftests: attribute_says_dirty
s/cookie\.test_and_clear_flag\(CookieFlag::LocalWrite\)/cookie.test_flag(CookieFlag::LocalWrite)/
