# SPDX-License-Identifier: GPL-2.0
# what: a file that was shortened stays as long in the cache
# file: fs/cachefiles/cache/object/resize.rs
# selftests: shortened
s/\n        \.and_then\(\|\(\)\| file\.truncate\(dio_size\)\)//
