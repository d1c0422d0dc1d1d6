# SPDX-License-Identifier: GPL-2.0
# what: one read is taken for a sequence
# file: fs/cachefiles/cache/ondemand/streams.rs
# selftests: readahead_is_nothing_to_random
s/stream\.object == read\.object && stream\.next == read\.start && read\.end > read\.start/stream.object == read.object \&\& read.end > read.start/
