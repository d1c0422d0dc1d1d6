# SPDX-License-Identifier: GPL-2.0
# what: nobody is told that the cache's file system is read-only
# file: fs/cachefiles/backing.rs
# selftests: read_only_file_system
s/error == EROFS && !self\.is_read_only/error == EROFS \&\& false \&\& !self.is_read_only/
