# SPDX-License-Identifier: GPL-2.0
# what: nobody looks at a request when its time is over
# file: fs/cachefiles/cache/ondemand/engine.rs
# test: an_opener_does_not_wait_for_ever
s/if table\.timeout\(\) != 0 \{/if false {/
