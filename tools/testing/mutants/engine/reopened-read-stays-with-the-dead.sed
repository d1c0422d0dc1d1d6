# SPDX-License-Identifier: GPL-2.0
# what: a READ that was not told of the closing is taken for one that the next daemon has
# file: fs/cachefiles/cache/ondemand/opening.rs
# test: an_fd_is_closed_while_its_reads
s/ && entry\.note == fd\.get\(\)//
