# SPDX-License-Identifier: GPL-2.0
# what: all READs of an object are told with the lock held once
# file: fs/cachefiles/cache/ondemand/opening.rs
# test: no_hold_of_the_lock
s/for _ in 0\.\.limit \{/let _ = limit;\n        loop {/
