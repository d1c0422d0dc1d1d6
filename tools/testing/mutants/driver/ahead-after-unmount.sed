# SPDX-License-Identifier: GPL-2.0
# what: the daemon reads what was asked for ahead before it reads the CLOSE
# file: fs/cachefiles/cache/ondemand/reads_ahead.rs
# selftests: unmount_takes_back
s/if entry\.is_ahead\(\) && !entry\.is_seen\(\) \{/if entry.is_ahead() \&\& !entry.is_seen() \&\& entry.waiters == 0 {/
