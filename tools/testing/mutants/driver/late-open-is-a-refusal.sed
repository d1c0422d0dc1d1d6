# SPDX-License-Identifier: GPL-2.0
# what: a reopening that is not answered in time counts as one that the daemon refused
# file: fs/cachefiles/cache/ondemand/time.rs
# model: timeouts_between_refusals_do_not_count
s/object\.lose_open\(\);/object.refuse(2);/
