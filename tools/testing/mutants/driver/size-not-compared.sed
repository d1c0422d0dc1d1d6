# SPDX-License-Identifier: GPL-2.0
# what: a file of another size is believed
# file: fs/cachefiles/format/layout.rs
# model: layout
s/if u64::from_be_bytes\(\*size\) != object_size/if false \&\& u64::from_be_bytes(*size) != object_size/
