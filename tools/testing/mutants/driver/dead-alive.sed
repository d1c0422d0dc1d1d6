# SPDX-License-Identifier: GPL-2.0
# what: commands to a dead cache are carried out
# file: fs/cachefiles/device.rs
# selftests: injected_eio_stops
s/Some\(cache\) if cache\.is_dead\(\) => Err\(EIO\)/Some(cache) if false \&\& cache.is_dead() => Err(EIO)/
