# SPDX-License-Identifier: GPL-2.0
# what: a file of another version is believed
# file: fs/cachefiles/format/layout.rs
# model: layout
s/(if data != coherency) \{\n        return Err\(Mismatch::Coherency\);\n    \}\n    if u64/if false {\n        return Err(Mismatch::Coherency);\n    }\n    if u64/
