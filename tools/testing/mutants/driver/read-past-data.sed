# SPDX-License-Identifier: GPL-2.0
# what: the hole behind the data of a read is taken for data, and read as zeros
# file: fs/cachefiles/io/prepare_read.rs
# selftests: parts_of_a_file
s/(FirstPart::Cached\(data_end\) => )\*len = distance\(start, data_end\)\.min\(\*len\)/\1{\n                let _ = data_end;\n            }/
