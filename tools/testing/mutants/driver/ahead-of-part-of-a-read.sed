# SPDX-License-Identifier: GPL-2.0
# what: the rest of a read is asked for once more by the READ ahead in which it lies
# file: fs/cachefiles/cache/ondemand/ahead.rs
# selftests: readahead_of_less_than_a_read
s/if let Some\(asked\) = asked \{/if let Some(asked) = asked.filter(|asked| *asked >= off + len) {/
