# SPDX-License-Identifier: GPL-2.0
# what: a reader gets what was to be written, where a part of it is in the file
# file: fs/cachefiles/cache/ondemand/filling.rs
# model: a_full_window_has_what_the_file_has
s/if !write\.is_whole \|\| /if /
