# SPDX-License-Identifier: GPL-2.0
# what: a name with a space is two words
# file: fs/cachefiles/debugfs.rs
# selftests: names_of_any_bytes
s/byte\.is_ascii_graphic\(\)/byte.is_ascii()/
