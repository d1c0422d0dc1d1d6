# SPDX-License-Identifier: GPL-2.0
# what: who reads is never told that a READ nobody waited for has failed
# file: fs/cachefiles/cache/ondemand/request.rs
# test: deferred_reads_end_with_the_cache
s/Deferred::answered\(node, outcome\);/if outcome.is_ok() { Deferred::answered(node, outcome) } else { core::mem::forget(node) }/
