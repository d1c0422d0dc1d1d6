# SPDX-License-Identifier: GPL-2.0
# what: a read for which nobody waits is begun when its first hole is filled
# file: fs/cachefiles/io/missing.rs
# test: a_deferred_read_gets_each_of_its_holes
s/let hole = next_hole\(object, file, self\.pos, self\.end\)\?;/let hole: Option<Hole> = None; let _ = next_hole;/
