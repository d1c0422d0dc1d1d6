# SPDX-License-Identifier: GPL-2.0
# what: D8: an error of a file that was replaced costs the one that took its place
# file: fs/cachefiles/cache/object.rs
# selftests: spares_the_new_one
s/if self\.glance\.is_of\(address\(file\)\) \{/if self.glance.is_of(address(file)) || true {/
