# SPDX-License-Identifier: GPL-2.0
# what: READs behind one that was answered between batches are never told
# file: fs/cachefiles/cache/ondemand/answer.rs
# test: a_reader_is_killed_between_batches
s/Table::sweep\(slots, state, from, BATCH\)/if from.is_none() \&\& begun { super::opening::Swept::default() } else { Table::sweep(slots, state, from, BATCH) }/
s/let mut from = None;\n        loop/let (mut from, mut begun) = (None, false);\n        loop/
s/from = swept\.next;\n/from = swept.next;\n            begun = true;\n/
