# SPDX-License-Identifier: GPL-2.0
# what: a file that was found is not read from
# file: fs/cachefiles/cache/object/lookup.rs
# selftests: let_go_after_ten
s/    object\.cookie\(\)\.clear_flag\(CookieFlag::NoDataToRead\);\n//
