# SPDX-License-Identifier: GPL-2.0
# what: the page that the end of a file cuts is not stored
# file: fs/cachefiles/io/write.rs
# selftests: cache_file_is_whole_blocks new_file_reaches
s/write\.extendable_by\(\) >= missing/false \&\& write.extendable_by() >= missing/
