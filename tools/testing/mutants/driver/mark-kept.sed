# SPDX-License-Identifier: GPL-2.0
# what: a file that was let go stays in use
# file: fs/cachefiles/lookup.rs
# selftests: file_in_use_is_not_culled
s/    clear_in_use\(Some\(object\.debug_id\(\)\), file\.inode\(\)\);\n    if !object\.is_tmpfile/    if !object.is_tmpfile/
