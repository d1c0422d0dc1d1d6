# SPDX-License-Identifier: GPL-2.0
# what: a killed opener takes the OPEN that READs wait for
# file: fs/cachefiles/cache/ondemand/table.rs
# test: a_killed_opener_leaves
s/entry\.waiters == 0 && !is_reopen/entry.waiters == 0/
