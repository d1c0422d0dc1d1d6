# SPDX-License-Identifier: GPL-2.0
# what: a delivered request keeps its mark, and goes out again
# file: fs/cachefiles/cache/ondemand/table.rs
# test: two_readers_get_their_pages
# hostile: found
s/(            Kind::Close\(_\) => Phase::Delivered,\n        \};\n)        entry::set_phase\(at, phase\);/\1        let _ = phase;/
