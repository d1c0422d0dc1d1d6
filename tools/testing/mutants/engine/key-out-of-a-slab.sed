# SPDX-License-Identifier: GPL-2.0
# what: a key is copied to user space out of the cookie itself
# file: fs/cachefiles/cache/ondemand/deliver.rs
# test: two_readers_get_their_pages
s/write_key\(key, out\)\?/out.write_slice(key)?/
