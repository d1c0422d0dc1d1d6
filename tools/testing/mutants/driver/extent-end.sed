# SPDX-License-Identifier: GPL-2.0
# what: the byte behind a range of data counts as data
# file: fs/cachefiles/data/extent_cache.rs
# model: extent
s/self\.start <= pos && pos < self\.end/self.start <= pos \&\& pos <= self.end/
