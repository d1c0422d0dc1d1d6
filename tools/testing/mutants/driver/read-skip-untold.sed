# SPDX-License-Identifier: GPL-2.0
# what: the hole in front of data is not counted as read
# file: fs/cachefiles/cache/object/read.rs
# kunit: cachefiles_driver
s/result\.saturating_add_unsigned\(skipped\)/result.saturating_add_unsigned(skipped * 0)/
