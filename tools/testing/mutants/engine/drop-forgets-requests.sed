# SPDX-License-Identifier: GPL-2.0
# what: requests of a dropped object are left in the table
# file: fs/cachefiles/cache/ondemand/engine.rs
# test: an_object_is_dropped_while_it_is_read
s/            self\.fail_requests\(object, EIO, \|slots, state\| Table::next_left\(slots, state\)\);\n//
