# SPDX-License-Identifier: GPL-2.0
# what: after 64 straight reads there is no other
# file: fs/cachefiles/cache/ondemand/windows.rs
# selftests: many_straight_reads_at_a_time_are_right
s/listed\.iter\(\)\.position\(Option::is_none\)/listed.iter().position(|_| false)/
