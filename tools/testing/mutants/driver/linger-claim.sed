# SPDX-License-Identifier: GPL-2.0
# what: the device cannot be opened while a cache lingers
# file: fs/cachefiles/cache/linger.rs
# selftests: linger_hands
s/    pin\.give_up_claim\(\);/    let _ = Pin::give_up_claim;/
