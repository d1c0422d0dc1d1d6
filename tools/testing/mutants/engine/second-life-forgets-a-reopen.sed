# SPDX-License-Identifier: GPL-2.0
# what: an object that was being reopened when the cache died is never opened again
# file: fs/cachefiles/cache/ondemand/state.rs
# test: an_object_that_reopens_when_the_cache_dies_is_opened_again
s/State::Reopening if self\.first == Link::NONE && !self\.opening =>/State::Reopening if false =>/
