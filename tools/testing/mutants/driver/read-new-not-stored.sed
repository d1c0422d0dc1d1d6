# SPDX-License-Identifier: GPL-2.0
# what: what is read of a new file is not stored
# file: fs/cachefiles/io/prepare_read.rs
# selftests: files_of_every_size
s/flags\.set_copy_to_cache\(\);\n(        \(None, \(IoSource::DownloadFromServer, PrepRead::NoData)/\1/
