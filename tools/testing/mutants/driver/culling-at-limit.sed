# SPDX-License-Identifier: GPL-2.0
# what: culling begins at its limit, and not below it
# file: fs/cachefiles/backing/space.rs
# selftests: to_the_block
s/blocks_left < block_limits\.cull/blocks_left <= block_limits.cull/
