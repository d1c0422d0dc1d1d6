# SPDX-License-Identifier: GPL-2.0
# what: a file that took the place of an invalid one gets no attribute
# file: fs/cachefiles/cache/object/invalidate.rs
# kunit: cachefiles_driver
s/    object\.set_tmpfile\(true\);\n    cookie\.set_flag\(CookieFlag::NeedsUpdate\);\n/    object.set_tmpfile(true);\n/
