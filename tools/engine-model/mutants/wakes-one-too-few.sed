# SPDX-License-Identifier: GPL-2.0
# what: of the READs that become ready, one is kept quiet
# file: fs/cachefiles/ondemand/table.rs
# test: exclusive_pollers
s/        Some\(Consequence \{\n            ready,/        Some(Consequence {\n            ready: u32::saturating_sub(ready, 1),/
