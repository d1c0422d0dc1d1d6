# SPDX-License-Identifier: GPL-2.0
# what: the next daemon of a cache that lingers is asked by fds that others have
# file: fs/cachefiles/cache/ondemand/hand_over.rs
# test: a_cache_that_lingers_is_handed_over
s/self\.fd_lost\(&object, fd, Closer::Dies\);/let _ = (fd, Closer::Dies);/
