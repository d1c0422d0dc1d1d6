# SPDX-License-Identifier: GPL-2.0
# what: readers with time left are forgotten when a reopening is not answered in time
# file: fs/cachefiles/cache/ondemand/clock.rs
# selftests: reader_with_time_left
s/if again \{/if again \&\& false {/
