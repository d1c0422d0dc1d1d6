# SPDX-License-Identifier: GPL-2.0
# what: a cache of both modes that is taken over serves network files as its last daemon said
# file: fs/cachefiles/cache/behaviour.rs
# selftests: next_daemon_may_have_no_mixed
s/self\.mixed\.store\(behaviour\.mixed, /self.mixed.fetch_or(behaviour.mixed, /
