# SPDX-License-Identifier: GPL-2.0
# what: one user is handed the requests of another
# file: fs/cachefiles/device/bind.rs
# selftests: attach_is_for
s/if cache\.backing\.user == User::current\(\)\?/if true || cache.backing.user == User::current()?/
