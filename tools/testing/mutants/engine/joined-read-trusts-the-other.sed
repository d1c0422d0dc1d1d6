# SPDX-License-Identifier: GPL-2.0
# what: a reader takes the answer to another one's READ for its own
# file: fs/cachefiles/cache/ondemand/fetch.rs
# test: readers_of_one_page
s/_ if is_own => return Ok\(None\)/_ => return Ok(None)/; s/return Ok\(None\),\n                _ => \{\}/return Ok(None),/
