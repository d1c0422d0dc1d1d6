# SPDX-License-Identifier: GPL-2.0
# what: a file that could not be marked as written to keeps its attribute
# file: fs/cachefiles/backend.rs
# selftests: attribute_that_cannot
s/                    crate::cache::coherency::remove_object\(&object, &file\);\n/                    let _ = file;\n/
