# SPDX-License-Identifier: GPL-2.0
# what: the daemon is not told that culling begins or ends
# file: fs/cachefiles/notify.rs
# selftests: when_culling_becomes
s/(!= culling \{\n)            self\.state_changed\(\);/\1/
