# SPDX-License-Identifier: GPL-2.0
# what: data that root took out of a file in use is taken to be there
# file: fs/cachefiles/data/extent_cache.rs
# model: extent
s/if blocks < snapshot\.blocks\(\) \|\| is_doubted/if is_doubted/
