# SPDX-License-Identifier: GPL-2.0
# what: a poller sleeps on that came before the cache was taken over
# file: fs/cachefiles/device.rs
# selftests: linger_wakes
s/        cache\.notifier\.wake_all\(\);/        drop(cache);/
