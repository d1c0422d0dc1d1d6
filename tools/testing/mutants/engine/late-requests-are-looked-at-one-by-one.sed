# SPDX-License-Identifier: GPL-2.0
# what: the clock rings for each request that is late
# file: fs/cachefiles/cache/ondemand/time.rs
# test: requests_that_are_late_one_after_the_other
s/GRAINS_IN_SECOND: u32 = 4;/GRAINS_IN_SECOND: u32 = 100;/
