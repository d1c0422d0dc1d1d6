# SPDX-License-Identifier: GPL-2.0
# what: a READ ahead is taken back when the reader that joined it is killed
# file: fs/cachefiles/cache/ondemand/entry.rs
# selftests: killed_reader_leaves_what
s/\.\.Self::new\(Kind::Read \{ off, len \}, 1\)/..Self::new(Kind::Read { off, len }, 0)/
