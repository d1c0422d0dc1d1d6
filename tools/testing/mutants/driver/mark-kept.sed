# SPDX-License-Identifier: GPL-2.0
# what: a file that was let go stays in use
# file: fs/cachefiles/cache/object/commit.rs
# selftests: file_in_use_is_not_culled
s/    drop\(last\);\n/    if let Some(last) = last {\n        last.removed();\n    }\n/
