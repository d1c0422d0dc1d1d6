# SPDX-License-Identifier: GPL-2.0
# what: a read for which nobody waits is lost where it joins a READ on its way
# file: fs/cachefiles/cache/ondemand/fetch.rs
# test: a_failed_answer_fails_all_deferred_reads
s/at\.shared\(\)\.add_deferred\(deferred\);/core::mem::forget(deferred);/
