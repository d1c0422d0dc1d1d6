# SPDX-License-Identifier: GPL-2.0
# what: a look without the lock does not notice that data was lost
# file: fs/cachefiles/data/snapshot.rs
# model: snapshot
# selftests: hole_punched_into
s/\n *&& self\.blocks\.load\(Ordering::Relaxed\) <= blocks//
