# SPDX-License-Identifier: GPL-2.0
# what: a file that netfs no longer wants is kept
# file: fs/cachefiles/cache/object/commit.rs
# kunit: cachefiles_driver
s/let retired = object\.cookie\(\)\.test_flag\(CookieFlag::Retired\)/let retired = false \&\& object.cookie().test_flag(CookieFlag::Retired)/
