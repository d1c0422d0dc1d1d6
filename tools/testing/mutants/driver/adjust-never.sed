# SPDX-License-Identifier: GPL-2.0
# what: a file that was found keeps the size that it has
# file: fs/cachefiles/cache/object/lookup.rs
# selftests: cut_off size_of
s/        let _ = resize::adjust\(object\);\n/        let _ = resize::adjust;\n/
