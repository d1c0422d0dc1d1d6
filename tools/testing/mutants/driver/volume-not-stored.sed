# SPDX-License-Identifier: GPL-2.0
# what: the coherency data of a volume is not written down when the cache goes
# file: fs/cachefiles/cache.rs
# selftests: attribute_of_a_volume
s/                volume\.set_coherency\(self\);\n//
