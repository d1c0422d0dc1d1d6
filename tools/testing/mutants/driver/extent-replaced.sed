# SPDX-License-Identifier: GPL-2.0
# what: what is known of a file is taken to be so of the one that takes its place
# file: fs/cachefiles/data/extent_cache.rs
# model: extent
s/        self\.extents\.clear\(\);\n(        core::mem::replace)/\1/
