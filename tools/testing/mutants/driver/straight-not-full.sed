# SPDX-License-Identifier: GPL-2.0
# what: a reader is told of data that nobody has written to its memory
# file: rust/kernel_ext/io/window.rs
# selftests: straight_read_of_what_came_another_way_is_read_from_the_file
s/memory\.is_some_and\(\|memory\| memory\.left\(\) == 0\)/memory.is_some()/
