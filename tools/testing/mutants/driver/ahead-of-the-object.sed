# SPDX-License-Identifier: GPL-2.0
# what: what lies behind the size of an object is asked for ahead
# file: fs/cachefiles/cache/ondemand/streams.rs
# selftests: readahead_ends_with_the_object
s/let object_end = round_down\(read\.size, page\);/let object_end = round_down(read.size.max(i64::MAX), page);/
