# SPDX-License-Identifier: GPL-2.0
# what: D3: data that root took out of a file on XFS is taken to be there
# file: fs/cachefiles/backing/space.rs
# xfs: hole_punched_into file_in_use_that_is_cut_off
s/stats\.fs_type == EXT4_SUPER_MAGIC/(stats.fs_type == EXT4_SUPER_MAGIC || true)/
