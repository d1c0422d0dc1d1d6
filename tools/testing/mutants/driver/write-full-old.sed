# SPDX-License-Identifier: GPL-2.0
# what: on a full disk what could not be overwritten is kept
# file: fs/cachefiles/io/write.rs
# selftests: full_disk
s/Ok\(true\) => discard\(object, file, start, end\)/Ok(true) => Ok(())/
