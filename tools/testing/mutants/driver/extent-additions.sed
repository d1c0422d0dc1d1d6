# SPDX-License-Identifier: GPL-2.0
# what: a hole is remembered that was filled while the file system was asked
# file: fs/cachefiles/data/extent_cache.rs
# model: extent
s/        self\.additions = self\.additions\.wrapping_add\(1\);\n//
