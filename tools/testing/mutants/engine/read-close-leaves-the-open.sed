# SPDX-License-Identifier: GPL-2.0
# what: an OPEN is accepted after the CLOSE of its object was read
# file: fs/cachefiles/cache/ondemand/deliver.rs
# test: nothing_is_lost_in_a_storm
s/        self\.with\(object, \|_, table, state\| table\.drop_object\(state\)\)\?;\n//
