# SPDX-License-Identifier: GPL-2.0
# what: poll does not say that the daemon is to cull
# file: fs/cachefiles/device.rs
# selftests: ends_at_brun
s/mask \|= poll::OUT/mask |= 0/
