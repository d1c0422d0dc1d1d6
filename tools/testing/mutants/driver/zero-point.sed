# SPDX-License-Identifier: GPL-2.0
# what: attributes have a zero point other than 0
# file: fs/cachefiles/format/layout.rs
# model: layout
# selftests: attribute_of_a_file_has
s/let zero_point = 0u64/let zero_point = object_size/
