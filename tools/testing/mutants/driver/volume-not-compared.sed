# SPDX-License-Identifier: GPL-2.0
# what: a volume of another version is believed
# file: fs/cachefiles/format/layout.rs
# model: layout
s/if data != coherency \{\n        return Err\(Mismatch::Coherency\);\n    \}\n    Ok/if false {\n        return Err(Mismatch::Coherency);\n    }\n    Ok/
