# SPDX-License-Identifier: GPL-2.0
# what: an object that was being reopened when the cache died is never opened again
# file: fs/cachefiles/ondemand/state.rs
# test: a_cache_that_died_is_taken_over
s/State::Reopening if self\.first == Link::NONE && !self\.opening =>/State::Reopening if false =>/
