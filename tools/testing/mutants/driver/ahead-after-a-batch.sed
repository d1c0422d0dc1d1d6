# SPDX-License-Identifier: GPL-2.0
# what: when an object goes, only the oldest of its READs ahead are taken back
# file: fs/cachefiles/cache/ondemand/reads_ahead.rs
# model: an_object_that_leaves_takes_them
s/(            \}\n        \})\n        looked\n/\1\n        looked.next = looked.next.filter(|_| looked.found.is_some());\n        looked\n/
