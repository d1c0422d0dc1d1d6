# SPDX-License-Identifier: GPL-2.0
# what: the daemon culls what was used last
# file: fs/cachefiles/cache/object/lookup.rs
# selftests: atime
s/    file\.touch_atime\(\);\n//
