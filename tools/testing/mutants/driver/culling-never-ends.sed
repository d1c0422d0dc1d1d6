# SPDX-License-Identifier: GPL-2.0
# what: culling does not end when there is room again
# file: fs/cachefiles/backing/space.rs
# selftests: ends_at_brun
s/            self\.notifier\.set_culling\(false\);\n//
