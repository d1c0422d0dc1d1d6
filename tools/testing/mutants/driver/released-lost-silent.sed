# SPDX-License-Identifier: GPL-2.0
# what: after a read of the state that fails the daemon is not woken again
# file: fs/cachefiles/backing/space.rs
# selftests: released
s/(released_blocks\.fetch_add\(blocks, Ordering::Relaxed\);\n)            self\.notifier\.state_changed\(\);\n/\1/
