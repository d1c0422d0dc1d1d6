# SPDX-License-Identifier: GPL-2.0
# what: who joins a READ ahead has only the time that is left of it
# file: fs/cachefiles/cache/ondemand/request.rs
# selftests: read_ahead_has_its_time
s/self\.since\.store\(super::clock::grain\(\), Ordering::Relaxed\);/let _ = self;/
