# SPDX-License-Identifier: GPL-2.0
# what: a read for which nobody waits is begun when its first hole is filled
# file: fs/cachefiles/cache/ondemand/missing.rs
# test: a_deferred_read_gets_each_of_its_holes
s/let hole = object\.data\(\)\.next_hole\(file, self\.pos, self\.end\)\?;/let hole: Option<Hole> = None;/
