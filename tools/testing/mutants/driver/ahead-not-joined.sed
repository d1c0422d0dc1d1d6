# SPDX-License-Identifier: GPL-2.0
# what: a reader asks once more for what is asked for ahead of it
# file: fs/cachefiles/cache/ondemand/fetch.rs
# selftests: readahead_asks_for_no_byte_twice
s/if id\.is_none\(\) && state\.has_ahead\(\) \{/if id.is_none() \&\& state.has_ahead() \&\& len == 0 {/
