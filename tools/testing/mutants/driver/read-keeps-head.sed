# SPDX-License-Identifier: GPL-2.0
# what: a hole in front of data keeps what was in the buffer
# file: fs/cachefiles/io/read.rs
# kunit: cachefiles_driver
s/    iter\.zero\(skipped\);\n//
