# SPDX-License-Identifier: GPL-2.0
# what: a read that joined a READ in vain fails, and does not ask for itself
# file: fs/cachefiles/cache/ondemand/missing.rs
# test: an_empty_answer_fails_the_deferred_read
s/return if self\.is_own \{/return if true {/
