# SPDX-License-Identifier: GPL-2.0
# what: a key with DEL in it gets another name
# file: fs/cachefiles/format/key.rs
# model: key
s/\(33\.\.=127\)/(33..=126)/
