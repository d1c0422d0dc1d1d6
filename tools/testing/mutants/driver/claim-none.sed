# SPDX-License-Identifier: GPL-2.0
# what: two daemons may have the device
# file: fs/cachefiles/cache/claim.rs
# selftests: second_open
s/if CLAIMED\.swap\(true, Ordering::Acquire\)/if CLAIMED.swap(true, Ordering::Acquire) \&\& false/
