# SPDX-License-Identifier: GPL-2.0
# what: room is made for a part of a page only
# file: fs/cachefiles/io/write.rs
# kunit: cachefiles_driver
s/\*len = len\.checked_next_multiple_of\(PAGE_SIZE\)\.ok_or\(EFBIG\)\?;//
