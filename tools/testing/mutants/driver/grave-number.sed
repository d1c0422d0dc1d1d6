# SPDX-License-Identifier: GPL-2.0
# what: graves of one second are called the same
# file: fs/cachefiles/cache/grave.rs
# selftests: graves
s/fetch_add\(1, Ordering::Relaxed\)/fetch_add(0, Ordering::Relaxed)/
