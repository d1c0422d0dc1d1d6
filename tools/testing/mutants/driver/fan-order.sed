# SPDX-License-Identifier: GPL-2.0
# what: files are looked for in the wrong directory of their volume
# file: fs/cachefiles/cache/volume.rs
# selftests: known_names
s/\[b'@', h, l\]/[b'@', l, h]/
