# SPDX-License-Identifier: GPL-2.0
# what: what is remembered of a file stays though a read has refuted it
# file: fs/cachefiles/data/extent_cache.rs
# model: extent
s/if blocks < snapshot\.blocks\(\) \|\| is_doubted/if blocks < snapshot.blocks()/
