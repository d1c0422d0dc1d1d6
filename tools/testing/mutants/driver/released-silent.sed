# SPDX-License-Identifier: GPL-2.0
# what: the daemon is not woken when files are let go
# file: fs/cachefiles/backing/space.rs
# selftests: released_files
s/(fetch_add\(1, Ordering::Relaxed\);\n)        self\.notifier\.state_changed\(\);\n/\1/
