# SPDX-License-Identifier: GPL-2.0
# what: the blocks of writes that have ended count as on their way for ever
# file: fs/cachefiles/cache/object/write.rs
# selftests: in_flight
s/    object\.cache\(\)\.backing\.space\.end_write\(blocks\);\n/    let _ = blocks;\n/
