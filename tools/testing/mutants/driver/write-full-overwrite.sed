# SPDX-License-Identifier: GPL-2.0
# what: on a full disk a write over data that is stored throws it away
# file: fs/cachefiles/io/write.rs
# selftests: full_disk
s/hole >= end\) => return Ok\(\(\)\)/hole >= end) \&\& false => return Ok(())/
