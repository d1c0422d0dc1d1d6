# SPDX-License-Identifier: GPL-2.0
# what: a file that turned out to be shorter than was remembered fails its readers for ever
# file: fs/cachefiles/cache/object/read.rs
# selftests: without_its_blocks_telling
s/            object\.data\(\)\.doubt\(file\);\n/            let _ = file;\n/
