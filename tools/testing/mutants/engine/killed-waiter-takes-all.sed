# SPDX-License-Identifier: GPL-2.0
# what: a killed waiter takes the request away from the others
# file: fs/cachefiles/cache/ondemand/table.rs
# test: a_killed_reader_leaves
s/entry\.waiters == 0 && !is_reopen/!is_reopen/
