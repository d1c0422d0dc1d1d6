# SPDX-License-Identifier: GPL-2.0
# what: a CLOSE that nobody reads in time goes with the object
# file: fs/cachefiles/cache/ondemand/engine.rs
# test: a_close_that_is_read_late
s/\|slots, state\| Table::next_left\(slots, state\)/|_, state| state.first.id()/
