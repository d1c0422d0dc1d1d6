# SPDX-License-Identifier: GPL-2.0
# what: a read for which nobody waits is lost where it joins a READ on its way
# file: fs/cachefiles/ondemand/fetch.rs
# test: deferred_reads_and_readers_share
s/at\.shared\(\)\.add_deferred\(deferred\);/core::mem::forget(deferred);/
