# SPDX-License-Identifier: GPL-2.0
# what: a request that is months old has all its time before it
# file: fs/cachefiles/cache/ondemand/time.rs
# model: a_request_of_last_year_is_overdue_as_well
s/GRAINS_IN_SECOND: u32 = 4;/GRAINS_IN_SECOND: u32 = 100;/
