# SPDX-License-Identifier: GPL-2.0
# what: names of binary keys are other ones
# file: fs/cachefiles/format/key.rs
# model: key
s/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-/
