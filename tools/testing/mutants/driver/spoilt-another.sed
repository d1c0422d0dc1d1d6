# SPDX-License-Identifier: GPL-2.0
# what: D8: an error of a file that was replaced costs the one that took its place
# file: fs/cachefiles/data/snapshot.rs
# selftests: spares_the_new_one
s/if self\.is_of\(file\) \{\n(            self\.stale)/if self.is_of(file) || true {\n\1/
