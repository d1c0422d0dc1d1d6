# SPDX-License-Identifier: GPL-2.0
# what: culling ends at the limit at which it begins
# file: fs/cachefiles/backing/space.rs
# selftests: ends_at_brun
s/else if files_left >= file_limits\.run && blocks_left >= block_limits\.run/else/
