# SPDX-License-Identifier: GPL-2.0
# what: a reader gets what was written by a write that had begun before it waited
# file: fs/cachefiles/cache/ondemand/fetched.rs
# selftests: straight_read_takes_nothing_of_a_write_that_had_begun
s/    end_write\(object, file, blocks, result\.err\(\)\);\n/    end_write(object, file, blocks, result.err());\n    let before = engine.and_then(Engine::before_write);\n/
