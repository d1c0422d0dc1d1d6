# SPDX-License-Identifier: GPL-2.0
# what: a file that could not be discarded is committed as the new one
# file: fs/cachefiles/cache/object/invalidate.rs
# selftests: could_not_be_discarded
s/        object\.data\(\)\.mark_stale\(current\);\n/        let _ = current;\n/
