# SPDX-License-Identifier: GPL-2.0
# what: a read that was under way when its object was invalidated is believed
# file: fs/cachefiles/cache/object/read.rs
# kunit: cachefiles_driver
s/object\.cookie\(\)\.inval_counter\(\) == inval_counter/(object.cookie().inval_counter() == inval_counter || true)/
