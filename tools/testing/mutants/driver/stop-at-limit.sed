# SPDX-License-Identifier: GPL-2.0
# what: the last block above the stop limit is refused
# file: fs/cachefiles/backing/space.rs
# selftests: to_the_block
s/blocks_left < block_limits\.stop/blocks_left <= block_limits.stop/
