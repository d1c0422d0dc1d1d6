# SPDX-License-Identifier: GPL-2.0
# what: a new file never gets a name
# file: fs/cachefiles/cache/object/commit.rs
# selftests: files_of_every_size
s/if object\.is_tmpfile\(\) && link\(/if object.is_tmpfile() \&\& false \&\& link(/
