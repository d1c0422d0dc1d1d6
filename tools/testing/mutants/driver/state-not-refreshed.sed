# SPDX-License-Identifier: GPL-2.0
# what: a read of the state tells of what was long ago
# file: fs/cachefiles/cache.rs
# selftests: ends_at_brun
s/        let _ = self\.has_space\(0, 0, Purpose::Check\);\n//
