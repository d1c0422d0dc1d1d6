# SPDX-License-Identifier: GPL-2.0
# what: a read of the state that fails loses what was let go
# file: fs/cachefiles/backing/space.rs
# selftests: released
s/            self\.released_files\.fetch_add\(files, Ordering::Relaxed\);\n//
