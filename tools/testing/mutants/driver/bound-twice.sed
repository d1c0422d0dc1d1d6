# SPDX-License-Identifier: GPL-2.0
# what: a cache that is bound is bound again
# file: fs/cachefiles/device.rs
# selftests: second_bind
s/if self\.bound\.as_ref\(\)\.is_some\(\)/if false \&\& self.bound.as_ref().is_some()/
