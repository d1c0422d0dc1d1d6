# SPDX-License-Identifier: GPL-2.0
# what: of two forms of a key that are as long the other one is taken
# file: fs/cachefiles/format/key.rs
# model: key
s/big <= little/big < little/
