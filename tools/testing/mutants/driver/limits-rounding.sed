# SPDX-License-Identifier: GPL-2.0
# what: limits are rounded otherwise than they were
# file: fs/cachefiles/format/limits.rs
# model: limits
s/percent\.saturating_mul\(u64::from\(limit\)\)/(total * u64::from(limit) \/ 100).max(percent * 0)/
