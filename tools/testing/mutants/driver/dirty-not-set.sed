# SPDX-License-Identifier: GPL-2.0
# what: a file that is written to is not marked
# file: fs/cachefiles/cache/coherency.rs
# selftests: attribute_says_dirty
s/let content = if cookie\.test_flag\(CookieFlag::LocalWrite\)/let content = if false \&\& cookie.test_flag(CookieFlag::LocalWrite)/
