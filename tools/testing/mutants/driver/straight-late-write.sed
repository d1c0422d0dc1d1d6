# SPDX-License-Identifier: GPL-2.0
# what: a reader does not notice a write that had begun before it waited
# file: fs/cachefiles/cache/ondemand/filling.rs
# model: a_full_window_has_what_the_file_has
s/ \|\| !is_before \|\|/ ||/
