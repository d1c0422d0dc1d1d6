# SPDX-License-Identifier: GPL-2.0
# what: culling ends above its limit, and not at it
# file: fs/cachefiles/backing/space.rs
# selftests: to_the_block
s/blocks_left >= block_limits\.run/blocks_left > block_limits.run/
