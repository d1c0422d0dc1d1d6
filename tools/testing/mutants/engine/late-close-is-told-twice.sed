# SPDX-License-Identifier: GPL-2.0
# what: who read a CLOSE late completes it once more
# file: fs/cachefiles/cache/ondemand/request.rs
# test: a_close_that_is_read_late
s/if is_first \{/if is_first || true {/
