# SPDX-License-Identifier: GPL-2.0
# what: the blocks of writes on their way do not count
# file: fs/cachefiles/backing/space.rs
# selftests: in_flight
s/bavail\.saturating_sub\(writing\)/bavail.saturating_sub(writing * 0)/
