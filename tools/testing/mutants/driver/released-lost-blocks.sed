# SPDX-License-Identifier: GPL-2.0
# what: a read of the state that fails loses the blocks let go
# file: fs/cachefiles/backing/space.rs
# selftests: released
s/            self\.released_blocks\.fetch_add\(blocks, Ordering::Relaxed\);\n//
