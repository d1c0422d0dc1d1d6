# SPDX-License-Identifier: GPL-2.0
# what: a hole is read as zeros where it is not wanted
# file: fs/cachefiles/io/read.rs
# kunit: cachefiles_driver
s/data == end && hole == ReadHole::Fail/false \&\& data == end \&\& hole == ReadHole::Fail/
