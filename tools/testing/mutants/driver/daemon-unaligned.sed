# SPDX-License-Identifier: GPL-2.0
# what: the daemon may write at any offset
# file: fs/cachefiles/cache/ondemand/fetched.rs
# selftests: unaligned
s/    check_start\(start\)\.inspect_err\(\|_\| note_misaligned\(object, start\)\)\?;\n//
