# SPDX-License-Identifier: GPL-2.0
# what: D22: keys are copied out of the slab of the cookies, of which a hardened kernel ends the daemon
# file: fs/cachefiles/cache/ondemand/deliver.rs
# selftests: open_carries_the_keys
# because: usercopy|kernel BUG|BUG:
s/out\.write_slice\(buffer\)/out.write_slice(chunk)/
