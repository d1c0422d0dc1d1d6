# SPDX-License-Identifier: GPL-2.0
# what: with a hole what is stored behind it is downloaded as well
# file: fs/cachefiles/io/prepare_read.rs
# selftests: parts_of_a_file
s/Extent::Hole\(data\) if data < end => \{\n            \*len = [^;]*;/Extent::Hole(data) if data < end => {/
