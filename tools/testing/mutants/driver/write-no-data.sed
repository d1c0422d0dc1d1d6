# SPDX-License-Identifier: GPL-2.0
# what: what was written is not read until the file is opened again
# file: fs/cachefiles/cache/object/write.rs
# selftests: once_its_pages_are_gone
s/        cookie\.set_flag\(CookieFlag::HaveData\);\n//
