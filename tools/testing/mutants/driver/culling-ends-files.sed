# SPDX-License-Identifier: GPL-2.0
# what: culling ends while files are short
# file: fs/cachefiles/backing/space.rs
# selftests: fcull
s/files_left >= file_limits\.run && //
