# SPDX-License-Identifier: GPL-2.0
# what: limits of blocks may be out of order
# file: fs/cachefiles/format/limits.rs
# model: limits
s/ \|\| !new\.blocks\.is_ordered\(\)//
