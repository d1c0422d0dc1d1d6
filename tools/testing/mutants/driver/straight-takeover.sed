# SPDX-License-Identifier: GPL-2.0
# what: a reader takes what one daemon left as the answer of the next
# file: fs/cachefiles/cache/ondemand/answer.rs
# selftests: straight_read_that_two_daemons_serve_reads_from_the_file
s/self\.shut_windows\(object\);/let _ = Self::shut_windows;/
