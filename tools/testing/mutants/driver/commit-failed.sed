# SPDX-License-Identifier: GPL-2.0
# what: a file whose attribute could not be written keeps the old one
# file: fs/cachefiles/cache/object/commit.rs
# selftests: could_not_be_noted
s/(        if !object\.is_tmpfile\(\) \{\n)            coherency::remove_object\(object, file\);\n/\1/
