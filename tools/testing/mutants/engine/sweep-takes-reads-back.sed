# SPDX-License-Identifier: GPL-2.0
# what: a READ that the next daemon has is handed out once more
# file: fs/cachefiles/cache/ondemand/opening.rs
# test: a_reader_is_killed_between_batches
s/entry\.phase == Phase::Ready \|\| is_with\(fd\)/entry.phase == Phase::Ready/
