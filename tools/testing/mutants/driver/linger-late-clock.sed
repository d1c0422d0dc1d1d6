# SPDX-License-Identifier: GPL-2.0
# what: a clock that is late, and not stopped by who takes the cache over, ends the next waiting
# file: fs/cachefiles/cache/linger.rs
# selftests: linger_that_is_over_late
s/cache\.expiry\.cancel_sync\(\);/let _ = cache;/
s/(let module = ModuleRef::take\(\);)/\1\n        task::sleep(700);/
