# SPDX-License-Identifier: GPL-2.0
# what: a broken disk does not end the cache of a network file system
# file: fs/cachefiles/cache.rs
# selftests: injected_eio_stops
s/if error == EIO && self\.ondemand\.is_none\(\)/if false \&\& error == EIO \&\& self.ondemand.is_none()/
