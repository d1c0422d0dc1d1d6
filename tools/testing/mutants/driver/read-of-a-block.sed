# SPDX-License-Identifier: GPL-2.0
# what: D20: a daemon is asked for less than a page, which it may not write
# file: fs/cachefiles/io/prepare_read.rs
# selftests: fetched_with_its_page
s/round_down\(pos, page\)/pos/
