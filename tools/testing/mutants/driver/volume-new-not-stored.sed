# SPDX-License-Identifier: GPL-2.0
# what: a new volume gets no coherency data
# file: fs/cachefiles/cache/volume.rs
# selftests: attribute_of_a_volume
s/                coherency::set_volume\(cache, &netfs, &dir\)\?;\n//
