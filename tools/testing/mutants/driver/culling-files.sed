# SPDX-License-Identifier: GPL-2.0
# what: culling does not begin when files run short
# file: fs/cachefiles/backing/space.rs
# selftests: fcull
s/files_left < file_limits\.cull \|\| //
