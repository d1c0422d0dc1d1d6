# SPDX-License-Identifier: GPL-2.0
# what: what could not be cut off comes back
# file: fs/cachefiles/cache/object/resize.rs
# selftests: could_not_be_cut_off
s/                    object\.data\(\)\.mark_stale\(file\);\n//
