# SPDX-License-Identifier: GPL-2.0
# what: a READ is handed out while its object has no fd
# file: fs/cachefiles/cache/ondemand/table.rs
# test: a_reader_is_killed_between_batches
s/let parks = at\.entry\(\)\.is_read\(\) && object\.state\(\) != State::Open;/let parks = at.entry().is_read() \&\& object.state() == State::Dropping;/
