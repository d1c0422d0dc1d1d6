# SPDX-License-Identifier: GPL-2.0
# what: a delivered request keeps its mark, and goes out again
# file: fs/cachefiles/cache/ondemand/table.rs
# test: two_readers_get_their_pages
# hostile: found
s/        entry::set_phase\(at, phase\);\n    \}\n\n    \/\/\/ The daemon.s read failed/        let _ = phase;\n    }\n\n    \/\/\/ The daemon's read failed/
