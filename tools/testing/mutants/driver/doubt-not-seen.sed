# SPDX-License-Identifier: GPL-2.0
# what: what is remembered of a file stays though a read has refuted it
# file: fs/cachefiles/data/extent.rs
# model: extent
s/if blocks < glance\.blocks\(\) \|\| is_doubted/if blocks < glance.blocks()/
