# SPDX-License-Identifier: GPL-2.0
# what: what is read of a file that is there in part is not stored
# file: fs/cachefiles/io/prepare_read.rs
# selftests: parts_of_a_file
s/(let mut download = \|why\| \{\n) *flags\.set_copy_to_cache\(\);/\1        let _ = \&flags;/
