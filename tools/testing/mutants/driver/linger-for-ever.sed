# SPDX-License-Identifier: GPL-2.0
# what: nobody is told that the time of a cache that lingers is over
# file: fs/cachefiles/cache/linger.rs
# selftests: linger_is_over
s/if let Some\(pin\) = kept::expire\(&cache\) \{/if let Some(pin) = kept::expire(\&cache).filter(|_| false) {/
