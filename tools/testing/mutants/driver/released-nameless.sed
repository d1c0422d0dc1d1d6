# SPDX-License-Identifier: GPL-2.0
# what: a file that never got a name is told as let go
# file: fs/cachefiles/cache/object/commit.rs
# selftests: released
s/    if !object\.is_tmpfile\(\) \{\n(        object\.cache\(\)\.backing\.space\.released)/    {\n\1/
