# SPDX-License-Identifier: GPL-2.0
# what: a delivered request keeps its mark, and goes out again
# file: fs/cachefiles/ondemand/table.rs
# test: two_readers_get_their_pages
s/at\.entry\(\)\.seen = true;\n        set_phase\(at, Phase::Delivered\);/at.entry().seen = true;/
