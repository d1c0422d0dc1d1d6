# SPDX-License-Identifier: GPL-2.0
# what: what the daemon fetches is written to a full disk
# file: fs/cachefiles/cache/ondemand/fetched.rs
# selftests: stop_limit
s/(cache\.has_space\(0, pages, Purpose::Fetched\))\)/\1.or(Ok(())))/
