# SPDX-License-Identifier: GPL-2.0
# what: new files are made when files have run out
# file: fs/cachefiles/backing/space.rs
# selftests: fstop
s/files_left < file_limits\.stop \|\| //
