# SPDX-License-Identifier: GPL-2.0
# what: of a file with an odd end what was behind that may be read
# file: fs/cachefiles/cache/object/resize.rs
# selftests: size_of
s/if old_size != page_start && new_size > old_size/if false/
