# SPDX-License-Identifier: GPL-2.0
# what: what was culled is not counted
# file: fs/cachefiles/device/cull.rs
# selftests: idle_file_is_unlinked
s/    fscache::stats::count_culled\(\);\n//
